// What the page brings with it, packed: gzip in base64. It lies in the page itself, or beside it.

/** The packed text of an asset; nothing is asked of any server but the page's own. */
export async function packed(name, files) {
  const inside = document.getElementById(`asset-${name}`);
  if (inside) return inside.textContent;
  return (await import(new URL(files[name], document.baseURI).href)).default;
}

/** The bytes of a packed text; `tell` gets {share} from 0 to 1 as they are unpacked. */
export async function unpack(text, tell = () => {}) {
  const zipped = bytesOf(text),
    size = new DataView(zipped.buffer).getUint32(zipped.length - 4, true);
  const stream = new Blob([zipped]).stream().pipeThrough(new DecompressionStream('gzip'));
  const bytes = new Uint8Array(size); // as gzip's last four bytes have it
  let at = 0;
  for (const reader = stream.getReader(); ;) {
    const {done, value} = await reader.read();
    if (done) return bytes;
    bytes.set(value, at);
    tell({share: (at += value.length) / size});
  }
}

function bytesOf(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}
