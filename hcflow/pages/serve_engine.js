// The engine of `hcflow serve`: the page's own server.
async function ask(path, options = {}) {
  const token = id("token").value, headers = { ...options.headers };
  if (token) headers.Authorization = `Bearer ${token}`;
  const answer = await fetch(path, { ...options, headers });
  if (answer.status === 401) id("token-row").hidden = false;
  if (!answer.ok) {
    const found = await answer.json().catch(() => ({}));
    throw new Error(found.error ?? `the server answered ${answer.status}`);
  }
  return answer;
}

const engine = {
  async models() {
    return (await ask("v1/models")).json();
  },
  async run(file, { model, direction }, signal) {
    const headers = { Accept: "image/png", "Content-Type": "application/octet-stream" };
    const path = `v1/${direction}?${new URLSearchParams({ model })}`;
    return (await ask(path, { method: "POST", body: file, headers, signal })).blob();
  },
};
