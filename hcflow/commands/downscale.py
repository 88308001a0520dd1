"""`hcflow downscale`: a large image in, a small one out that `upscale` can undo."""

from __future__ import annotations

import json

import hcflow
from hcflow import console
from hcflow.commands import endpoints, options
from runtime.files import MAX_PIXELS, check_mode
from runtime.pixels import result_mode


def downscale(
    *,
    source: options.Input,
    output: options.Output,
    model: options.ModelName = None,
    threads: options.Threads = None,
    backend: options.Backend = "onnxruntime",
    precision: options.PrecisionName = None,
    format_name: options.Format = None,
    max_pixels: options.MaxPixels = MAX_PIXELS,
    force: options.Force = False,
    as_json: options.Json = False,
) -> None:
    """Downscale an image by the model's scale; sides are rounded up.

    Keep the result in a lossless format (PNG): what a lossy one drops, upscale cannot bring back.
    """
    (name,), format_name = endpoints.outputs(
        source, output, format_name=format_name, force=force, as_json=as_json
    )
    network = hcflow.load(model, backend=backend, precision=precision, threads=threads)
    photo = endpoints.read(source, max_pixels)
    check_mode(result_mode(photo.image), format_name)
    elapsed = console.stopwatch()
    image = console.run(
        f"downscaling {photo.image.width}×{photo.image.height} by {network.scale}",
        lambda: network.downscale(photo.image),
    )
    seconds = elapsed()
    endpoints.write(image, photo, name, format_name)
    if as_json:
        report = {
            "model": network.manifest.name,
            "input": source,
            "outputs": [name],
            "size": list(image.size),
            "input_size": list(photo.image.size),
            "seconds": seconds,
        }
        print(json.dumps(report))
