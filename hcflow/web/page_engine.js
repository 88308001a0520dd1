// The engine of `hcflow web`: the graphs run in this browser, in a worker of the page.
const LARGEST_SIDE = 16384;  // of a canvas
const backend = Object.assign(document.createElement("p"), { id: "backend" });
const choice = document.createElement("label");
choice.innerHTML = 'Runs on <select id="provider" aria-label="what computes"><option value="wasm">' +
  'the processor</option></select>';
id("status").before(choice, backend);
let worker = null;

if (navigator.gpu && WEBGPU) {
  navigator.gpu.requestAdapter().then(adapter => {
    if (adapter) id("provider").append(new Option("the GPU (WebGPU)", "webgpu"));
  });
}

// The pixels of a picture file, laid on white.
async function pixels(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    throw new Error(`this browser cannot read ${file.name} as a picture`);
  }
  const { width, height } = bitmap;
  if (Math.max(width, height) > LARGEST_SIDE) {
    throw new Error(`${file.name} is ${width}×${height}: a browser takes ${LARGEST_SIDE} pixels a side`);
  }
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.fillStyle = "#fff";
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0);
  return { data: context.getImageData(0, 0, width, height).data, width, height };
}

async function png({ data, width, height }) {
  const canvas = new OffscreenCanvas(width, height);
  canvas.getContext("2d").putImageData(new ImageData(data, width, height), 0, 0);
  return canvas.convertToBlob({ type: "image/png" });
}

function compute(job, signal, progress) {
  return new Promise((resolve, reject) => {
    const stop = error => {
      worker?.terminate();
      worker = null;
      reject(error);
    };
    worker ??= new Worker("worker.js", { type: "module" });
    signal.addEventListener("abort", () => stop(new DOMException("cancelled", "AbortError")));
    worker.onerror = event => stop(new Error(event.message || "the worker could not be started"));
    worker.onmessage = ({ data }) => {
      if (data.failed) stop(new Error(data.failed));
      else if (data.result) resolve(data);
      else progress(data.share);
    };
    worker.postMessage(job, [job.image.data.buffer]);
  });
}

const engine = {
  async models() {
    if (location.protocol === "file:") {
      throw new Error("This page has to come from a web server, for example: python -m http.server");
    }
    return (await fetch("models.json")).json();
  },
  async run(file, { model, direction }, signal, progress) {
    const image = await pixels(file), found = models.find(one => one.name === model);
    const grown = direction === "upscale" ? found.scale : 1;
    if (Math.max(image.width, image.height) * grown > LARGEST_SIDE) {
      throw new Error(`the result would be ${image.width * grown}×${image.height * grown}: ` +
        `a browser takes ${LARGEST_SIDE} pixels a side`);
    }
    const wanted = id("provider").value;
    const { result, threads } = await compute({ model: found, direction, image, wanted }, signal, progress);
    backend.textContent = wanted === "webgpu" ? "computed on WebGPU"
      : `computed in WebAssembly, ${threads} thread${threads > 1 ? "s" : ""}`;
    return png(result);
  },
};
