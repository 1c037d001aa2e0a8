import pc from "picocolors";

/** Colours for stderr and stdout apart: either may be a pipe. NO_COLOR and FORCE_COLOR are respected. */
function colorsFor({ isTTY }: { isTTY?: boolean }) {
  const { NO_COLOR, FORCE_COLOR } = process.env;
  return pc.createColors(!NO_COLOR && (FORCE_COLOR ? true : isTTY === true));
}
export const err = colorsFor(process.stderr);
export const out = colorsFor(process.stdout);

/**
 * Control characters as `\x1b`: names and messages come from the database, and a terminal would obey them.
 * Line ends stay, and where colours are on the codes of ours.
 */
export function visible(text: string, { isColorSupported }: { isColorSupported: boolean }): string {
  return text.replaceAll(/(?!\n)\p{Cc}/gu, (control, place: number) => {
    const isOurs = isColorSupported && /^.\[(1|2|22|3[1-69])m/.test(text.slice(place, place + 5));
    return isOurs ? control : `\\x${control.charCodeAt(0).toString(16).padStart(2, "0")}`;
  });
}

let isLineOpen = false;

/** A line of progress, on stderr. */
export function progress(line: string): void {
  process.stderr.write(`${isLineOpen ? "\n" : ""}${visible(line, err)}\n`);
  isLineOpen = false;
}

/** The first half of a line of progress; {@link end} completes it. */
export function begin(text: string): void {
  process.stderr.write(visible(text, err));
  isLineOpen = true;
}
export function end(text: string): void {
  process.stderr.write(`${visible(text, err)}\n`);
  isLineOpen = false;
}

/** Runs one step and says on stderr what it did and how long it took. */
export async function step<T>(work: () => Promise<T>, said: (result: T) => string): Promise<T> {
  const start = performance.now();
  const result = await work();
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  progress(`${err.green("✔")} ${said(result)}  ${err.dim(`${seconds} s`)}`);
  return result;
}

/** A line for a person, on stdout. */
export function print(line = ""): void {
  process.stdout.write(`${visible(line, out)}\n`);
}

const LEVELS = { error: out.red, warning: out.yellow, info: out.dim };

/** A finding as text: its level, where it is, what is so, and below it what else there is to say. */
export function finding(
  level: keyof typeof LEVELS,
  where: string,
  message: string,
  ...below: readonly string[]
): string {
  const head = `${LEVELS[level](level.padEnd(7))}  ${out.bold(where)}: ${message}`;
  return [head, ...below].join("\n         ");
}

/** SQL, on stdout: as it is for a pipe, since it is to run as it is. */
export function printSql(text: string): void {
  if (process.stdout.isTTY) print(text);
  else process.stdout.write(`${text}\n`);
}

/** Data for programs, on stdout. */
export function printJson(data: unknown): void {
  process.stdout.write(`${JSON.stringify(data, null, 2)}\n`);
}

/**
 * Columns as wide as their widest cell; numbers, and texts that hold nothing else, to the right. Where a line
 * would be wider than the terminal, each row is a block of lines instead, a cell a line below the first one.
 */
export function table(
  head: readonly string[],
  body: readonly (readonly string[])[],
  columns = process.stdout.columns ?? Infinity,
): string {
  const widths = head.map((title, i) =>
    Math.max(title.length, ...body.map((cells) => cells[i]?.length ?? 0)),
  );
  const isNumeric = head.map((_, i) => body.every((cells) => /^[\d.,–]*$/.test(cells[i] ?? "")));
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, i) =>
        isNumeric[i] ? cell.padStart(widths[i] ?? 0) : cell.padEnd(widths[i] ?? 0),
      )
      .join("  ")
      .trimEnd();
  const lines = body.map(line);
  const isNarrow = [line(head), ...lines].some(({ length }) => length > columns);
  if (isNarrow) return body.map((cells) => block(head, cells)).join("\n");
  return [out.bold(line(head)), ...lines].join("\n");
}

/** A row below its first cell; what is empty is left out. */
function block(
  [, ...titles]: readonly string[],
  [first = "", ...cells]: readonly string[],
): string {
  const width = Math.max(...titles.map(({ length }) => length));
  const lines = cells.flatMap((cell, i) =>
    cell === "" ? [] : [`  ${(titles[i] ?? "").padEnd(width)}  ${cell}`],
  );
  return [out.bold(first), ...lines].join("\n");
}
