"""Converts what is given: a list of images, a video's frames, a folder's images, or one image."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from hcflow.cli import input_output
from hcflow.cli.conversion.options import ConversionOptions
from runtime.convert.job import Job


def convert(
    given: ConversionOptions,
    job: Job,
    convert_image: Callable[[], None],
    *,
    folder_job: Job | None = None,
    image_options: Mapping[str, object] | None = None,
    vary_latents: bool = False,
) -> None:
    """Convert what is given: a list of images, a video's frames, a folder's images, or one image.

    Args:
        given: the options.
        job: that they ask for.
        convert_image: converts one image.
        folder_job: the job for a folder, where that is another.
        image_options: options that one image alone takes.
        vary_latents: other latents in every frame of a video.

    Raises:
        typer.BadParameter: an option is given that has no effect here.
    """
    input_output.refuse(
        {"--shard": given.manifest is None and given.shard}, "needs --manifest LIST"
    )
    input_output.refuse({"--ray": given.manifest is None and given.ray}, "needs --manifest LIST")
    if given.manifest is not None:
        from hcflow.cli.conversion.lists import Workers, convert_list

        refused = {
            **(image_options or {}),
            "INPUT": given.input_name,
            "--suffix": given.suffix,
            "--video": given.video,
            "--frame-size": given.frame_size,
            "--matrix": given.matrix,
            "--range": given.colour_range,
            "--vary-latents": vary_latents,
            "--force": given.force,
        }
        input_output.refuse(refused, "does not work with --manifest")
        convert_list(
            given.manifest,
            given.output,
            folder_job or job,
            Workers(given.jobs, given.timeout, given.ray),
            shard=given.shard,
            format_name=given.format_name,
            as_json=given.as_json,
        )
        return
    if given.video is not None:
        from hcflow.cli.conversion.video import Stream, convert_video

        refused = {
            **(image_options or {}),
            "--strips": given.strips,
            "--format": given.format_name,
            "--quality": given.quality,
            "--suffix": given.suffix,
            "--json": given.as_json,
            "--timeout": given.timeout,
        }
        input_output.refuse(refused, "does not work with --video")
        stream = Stream(given.video, given.frame_size, given.matrix, given.colour_range)
        sink = input_output.STANDARD if given.output is None else given.output
        convert_video(given.source, sink, job, stream, given.jobs, vary_latents=vary_latents)
        return
    refused = {
        "--frame-size": given.frame_size,
        "--matrix": given.matrix,
        "--range": given.colour_range,
        "--vary-latents": vary_latents,
    }
    input_output.refuse(refused, "needs --video")
    input_output.refuse(
        {"--suffix": given.output is not None and given.suffix}, "has no effect beside -o"
    )
    if input_output.is_folder(given.source):
        from hcflow.cli.conversion.folder import convert_folder

        input_output.refuse(image_options or {}, "does not work with a folder")
        output = given.output
        if output is None:
            output = input_output.derived_folder(given.source, folder_job or job, given.suffix)
        convert_folder(
            given.source,
            output,
            folder_job or job,
            format_name=given.format_name,
            jobs=given.jobs,
            as_json=given.as_json,
            timeout=given.timeout,
        )
    else:
        input_output.refuse({"--timeout": given.timeout}, "needs a folder")
        convert_image()
