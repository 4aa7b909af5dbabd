// An ONNX file as bytes: what it says of itself, and how it is made to give one output more.

const GRAPH = 7,
  METADATA = 14; // fields of ModelProto
const OUTPUT = 12; // of GraphProto

/** The metadata of a file by key, which ONNX Runtime Web does not show; {} where it holds none. */
export function metadata(bytes) {
  const found = {},
    text = new TextDecoder();
  for (const [number, entry] of fields(bytes)) {
    if (number !== METADATA) continue;
    const {1: key, 2: value} = Object.fromEntries(fields(entry));
    found[text.decode(key)] = text.decode(value);
  }
  return found;
}

/**
 * A file that also gives a float tensor of its graph. Messages of protobuf that stand one behind the
 * other are read as one: so a graph with nothing but that output is put behind the file.
 */
export function withOutput(bytes, name) {
  const float = field(1, field(1, Uint8Array.of(1), 0)); // TypeProto.tensor_type.elem_type
  const value = [...field(1, new TextEncoder().encode(name)), ...field(2, float)];
  const more = field(GRAPH, field(OUTPUT, value));
  const whole = new Uint8Array(bytes.length + more.length);
  whole.set(bytes);
  whole.set(more, bytes.length);
  return whole;
}

/** A field of a message, of fewer than 128 bytes. */
function field(number, content, kind = 2) {
  const head = [(number << 3) | kind, ...(kind === 2 ? [content.length] : [])];
  return Uint8Array.from([...head, ...content]);
}

function* fields(bytes) {
  let at = 0;
  const varint = () => {
    for (let value = 0, scale = 1; at < bytes.length; scale *= 128) {
      const byte = bytes[at++];
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
    return NaN;
  };
  while (at < bytes.length) {
    const key = varint(),
      kind = key & 7;
    if (kind === 2) {
      const size = varint();
      yield [key >>> 3, bytes.subarray(at, at + size)];
      at += size;
    } else if (kind === 0) varint();
    else if (kind === 1 || kind === 5) at += kind === 1 ? 8 : 4;
    else return; // no protobuf
  }
}
