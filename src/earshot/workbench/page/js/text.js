// Texts as a student reads them: the counterpart of earshot.text. Nothing of the page is known here.

const DRESSED = [
  [0x2103, 0x2103],
  [0x2109, 0x2109],
  [0x2e80, 0x2fdf],
  [0x3000, 0x3000],
  [0x3300, 0x33ff],
  [0xfb00, 0xfb17],
  [0xfb50, 0xfdff],
  [0xfe50, 0xfe6b],
  [0xfe70, 0xfeff],
  [0xff01, 0xffee],
];
const INVISIBLE = [
  [0xad, 0xad],
  [0x200c, 0x200f],
  [0x202a, 0x202e],
  [0x2060, 0x2060],
  [0x2066, 0x2069],
  [0xfe00, 0xfe0f],
  [0xfeff, 0xfeff],
];
const APOSTROPHES = '’‘‛ʼʻ′`´׳ꞌ';
const HYPHENS = '‐‑‒–−';
const LINE_BREAK = '\u200b'; // where Thai and Khmer may break a line, a word ends

// A word among the kinds of characters, one letter each, as text.encoding has it.
const TOKEN = new RegExp(
  "(?:(?<![dws'-])-(?=s?\\.?d))?(?:(?<![dws'.])\\.(?=d))?[dws]" +
    "(?:[dws]|(?<=[dw])'(?=[dw])|(?<=[ds])[.-](?=d)|(?<=d),(?=d))*" +
    "(?:(?<=[dw])-(?![dws'-]))?",
  'g',
);
const FIRST_VERSION = /[\p{L}\p{N}_']+/gu;

/** One form for the same characters: NFC, one apostrophe, one hyphen, nothing invisible. */
export function canonical(text) {
  return Array.from(text, oneForm).join('').normalize('NFC');
}

function oneForm(character) {
  const code = character.codePointAt(0);
  const within = (ranges) => ranges.some(([first, last]) => first <= code && code <= last);
  if (within(INVISIBLE)) return '';
  if (character === LINE_BREAK) return ' ';
  if (APOSTROPHES.includes(character)) return "'";
  if (HYPHENS.includes(character)) return '-';
  return within(DRESSED) ? character.normalize('NFKC') : character;
}

/** The words of a text in lower case, as a version of the encoder reads them. */
export function words(text, version = 2) {
  if (version === 1) return text.toLowerCase().match(FIRST_VERSION) ?? [];
  const lower = Array.from(canonical(canonical(text).toLowerCase().replaceAll('i\u0307', 'i')));
  const found = lower.map(kind).join('').matchAll(TOKEN);
  return Array.from(found, ({0: token, index}) =>
    lower.slice(index, index + token.length).join(''),
  );
}

function kind(character) {
  if (/\p{Nd}/u.test(character)) return 'd';
  if (/[\p{L}\p{N}\p{M}_]/u.test(character)) return 'w';
  if (/[\p{Sm}\p{Sc}\p{So}%‰#&@*^]/u.test(character)) return 's';
  if ("'·‧״".includes(character)) return "'";
  if (',:/٫٬'.includes(character)) return ',';
  return '.-'.includes(character) ? character : ' ';
}

/** Ids (1 … buckets − 1) of a text's words and letter trigrams; none of a text without words. */
export function encode(text, buckets, space, version) {
  const tokens = words(text, version).flatMap((word) => [word, ...trigrams(`<${word}>`)]);
  return tokens.map((token) => 1 + (crc32(utf8.encode(`${space}:${token}`)) % (buckets - 1)));
}

function trigrams(word) {
  const letters = Array.from(word); // code points, as in Python
  return letters.slice(2).map((_, place) => letters.slice(place, place + 3).join(''));
}

/** All that a student knows of a text: its ids, with their shares in the mean. */
export function reading(ids) {
  const counts = new Map();
  for (const id of ids) counts.set(id, (counts.get(id) ?? 0) + 1);
  const divisor = [...counts.values()].reduce(gcd, 0);
  const shares = [...counts].sort(([a], [b]) => a - b).map(([id, count]) => [id, count / divisor]);
  return JSON.stringify(shares);
}

const gcd = (a, b) => (b ? gcd(b, a % b) : a);
const utf8 = new TextEncoder();
const CRC = Uint32Array.from({length: 256}, (_, value) => {
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value;
});

export function crc32(bytes) {
  let crc = ~0;
  for (const byte of bytes) crc = CRC[(crc ^ byte) & 255] ^ (crc >>> 8);
  return ~crc >>> 0;
}
