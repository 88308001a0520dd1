"""Image files, bicubic resampling and the four test photographs."""
