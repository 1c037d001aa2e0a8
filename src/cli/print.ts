import pc from "picocolors";

/** Colours for stderr and stdout apart: either may be a pipe. NO_COLOR and FORCE_COLOR are respected. */
function colorsFor({ isTTY }: { isTTY?: boolean }) {
  const { NO_COLOR, FORCE_COLOR } = process.env;
  return pc.createColors(!NO_COLOR && (FORCE_COLOR ? true : isTTY === true));
}
export const err = colorsFor(process.stderr);
export const out = colorsFor(process.stdout);

let isLineOpen = false;

/** A line of progress, on stderr. */
export function progress(line: string): void {
  process.stderr.write(`${isLineOpen ? "\n" : ""}${line}\n`);
  isLineOpen = false;
}

/** The first half of a line of progress; {@link end} completes it. */
export function begin(text: string): void {
  process.stderr.write(text);
  isLineOpen = true;
}
export function end(text: string): void {
  process.stderr.write(`${text}\n`);
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

/** A line of data, on stdout. */
export function print(line = ""): void {
  process.stdout.write(`${line}\n`);
}

/** Data for programs, on stdout. */
export function printJson(data: unknown): void {
  print(JSON.stringify(data, null, 2));
}

/** Columns as wide as their widest cell; numbers, and texts that hold nothing else, to the right. */
export function table(head: readonly string[], body: readonly (readonly string[])[]): string {
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
  return [out.bold(line(head)), ...body.map(line)].join("\n");
}
