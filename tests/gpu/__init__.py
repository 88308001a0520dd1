"""What only a GPU can show: `python3 -m tests.gpu --output DIR`, or `make gpu`.

It needs the machine's own Python with NumPy, and uses PyTorch, CuPy, cuda-bindings, cuda-core, ONNX
Runtime and TensorRT where they are; what is missing is skipped by name. Nothing is installed or
fetched. In five minutes at most it writes `gpu.json` and one page, `gpu.html`.
"""
