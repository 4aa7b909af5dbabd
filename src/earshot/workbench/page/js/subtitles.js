// Words with times as SubRip subtitles, as `earshot transcribe --srt` writes them.

const LINE = 42; // characters of a subtitle
const SHOWN = 6; // seconds that it stays at most
const PAUSE = 1; // seconds of silence that end it

export function srt(words) {
  const lines = [];
  for (const word of words) {
    if (!lines.length || !fits(lines.at(-1), word)) lines.push([]);
    lines.at(-1).push(word);
  }
  const blocks = lines.map(
    (line, place) =>
      `${place + 1}\n${time(line[0].begin)} --> ${time(line.at(-1).end)}\n${text(line)}\n`,
  );
  return blocks.join('\n');
}

export const text = (words) => words.map((word) => word.text).join(' ');

function fits(line, word) {
  const length = text(line).length + 1 + word.text.length;
  return (
    length <= LINE && word.begin - line.at(-1).end < PAUSE && word.end - line[0].begin <= SHOWN
  );
}

function time(seconds) {
  const all = Math.round(1000 * seconds),
    two = (value) => String(value).padStart(2, '0');
  const minutes = Math.floor(all / 60_000),
    rest = all % 60_000;
  const milliseconds = String(rest % 1000).padStart(3, '0');
  return `${two(Math.floor(minutes / 60))}:${two(minutes % 60)}:${two(Math.floor(rest / 1000))},${milliseconds}`;
}
