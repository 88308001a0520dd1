// A picture is dropped or chosen, converted by the engine, and shown under the divider.
// An engine has models(), which gives [{name, scale, directions}], and
// run(file, {model, direction}, signal, progress), which gives the Blob of the result's file; it
// calls progress with a share from 0 to 1 where it knows one.
let models = [], running = null, urls = [], last = null;

function say(text) {
  id("status").textContent = text;
}

async function begin() {
  try {
    models = await engine.models();
  } catch (error) {
    say(error.message);
    return;
  }
  const names = models.filter(one => one.directions.includes(id("direction").value));
  id("model").replaceChildren(...names.map(one => new Option(one.name)));
  for (const option of id("direction").options) {
    option.disabled = !models.some(one => one.directions.includes(option.value));
  }
  say("");
}

function work(on) {
  for (const name of ["cancel", "progress"]) id(name).hidden = !on;
  if (on) id("download").hidden = true;
  id("progress").removeAttribute("value");
}

async function convert(file) {
  running?.abort();
  const mine = running = new AbortController(), asked = { model: id("model").value, direction: id("direction").value };
  last = file;
  say(`${file.name} …`);
  work(true);
  try {
    const result = await engine.run(file, asked, mine.signal, share => {
      if (running === mine) id("progress").value = share;
    });
    if (running === mine) await present(file, result, asked);
  } catch (error) {
    if (running === mine) say(error.name === "AbortError" ? "cancelled" : error.message);
  } finally {
    if (running === mine) {
      running = null;
      work(false);
    }
  }
}

// Width and height of a picture that this browser can show, or null.
async function measured(url) {
  const image = new Image();
  image.src = url;
  try {
    await image.decode();
  } catch {
    return null;
  }
  return [image.naturalWidth, image.naturalHeight];
}

async function present(file, result, asked) {
  const before = urls;
  urls = [file, result].map(blob => URL.createObjectURL(blob));
  const sizes = await Promise.all(urls.map(measured)), [small, large] = sizes;
  const factor = models.find(one => one.name === asked.model)?.scale ?? 1, up = asked.direction === "upscale";
  const made = up ? asked.model : `${asked.model}, smaller`;
  if (large) {
    const [width, height] = up || !small ? large : small;
    const scales = [up && small ? width / small[0] : 1, up ? 1 : factor];
    const layers = [small && ["input", 0], [made, 1]].filter(Boolean).map(([name, at]) => (
      { name, src: urls[at], scale: scales[at], figures: { "": sizes[at].join("×") } }));
    document.body.classList.remove("empty");
    document.dispatchEvent(new CustomEvent("scenes", { detail: [{
      name: file.name, width, height, left: layers[0].name, right: made, reference: layers[0].name,
      note: `${file.name}, ${asked.direction}d by ${asked.model}.`, layers,
    }] }));
    id("title").textContent = file.name;
  }
  for (const url of before) URL.revokeObjectURL(url);
  const stem = file.name.replace(/\.[^.]*$/, "") || "picture", link = id("download");
  link.href = urls[1];
  link.download = `${stem}_${up ? "x" : "down"}${factor}.png`;
  link.hidden = false;
  say(large ? "" : "done; this browser cannot show the result");
}

document.addEventListener("dragover", event => {
  event.preventDefault();
  document.body.classList.add("over");
});
document.addEventListener("dragleave", () => document.body.classList.remove("over"));
document.addEventListener("drop", event => {
  event.preventDefault();
  document.body.classList.remove("over");
  if (event.dataTransfer.files.length) convert(event.dataTransfer.files[0]);
});
id("file").addEventListener("change", () => {
  if (id("file").files.length) convert(id("file").files[0]);
  id("file").value = "";
});
id("cancel").addEventListener("click", () => running?.abort());
id("direction").addEventListener("change", begin);
id("model").addEventListener("change", () => last && convert(last));
id("token").addEventListener("change", begin);
begin();
