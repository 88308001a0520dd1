// Runs a bundle's graphs by onnxruntime-web, away from the page, which stays alive meanwhile.
import { convert } from "./convert.js";

const RUNTIMES = { wasm: "./ort/ort.wasm.min.mjs", webgpu: "./ort/ort.webgpu.min.mjs" };
const sessions = new Map();
let ort = null, provider = null;

async function load(wanted) {
  if (provider === wanted) return;
  ort = await import(RUNTIMES[wanted]);
  ort.env.wasm.wasmPaths = new URL("./ort/", import.meta.url).href;
  ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency, 8) : 1;
  provider = wanted;
  sessions.clear();
}

async function open(file) {
  if (!sessions.has(file)) {
    const answer = await fetch(new URL(`./${file}`, import.meta.url));
    if (!answer.ok) throw new Error(`${file}: the server answered ${answer.status}`);
    const graph = new Uint8Array(await answer.arrayBuffer());
    sessions.set(file, await ort.InferenceSession.create(graph, { executionProviders: [provider] }));
  }
  return sessions.get(file);
}

async function work({ model, direction, image, wanted }) {
  await load(wanted);
  const session = await open(model.graphs[direction].file), output = direction === "upscale" ? "hr" : "lr";
  const run = async feeds => {
    const tensors = Object.entries(feeds).map(
      ([name, { data, dims }]) => [name, new ort.Tensor("float32", data, dims)]);
    const found = await session.run(Object.fromEntries(tensors), [output]);
    const values = found[output].data;
    if (!values.every(Number.isFinite)) throw new Error("the network gave no numbers for a tile");
    return values;
  };
  return convert(model, direction, image, run, share => postMessage({ share }));
}

onmessage = async event => {
  try {
    const result = await work(event.data);
    postMessage({ result, threads: provider === "wasm" ? ort.env.wasm.numThreads : 0 }, [result.data.buffer]);
  } catch (error) {
    postMessage({ failed: error.message || String(error) });
  }
};
