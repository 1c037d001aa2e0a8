/** HTML as a template whose values are text: what is escaped, and how, is said here and nowhere else. */

/** Text that is HTML already. */
export class Html {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
}

/** What a template takes: HTML as it is, all else as text, nothing as nothing. */
export type Part = Html | string | number | null | false | readonly Part[];

/** `` html`<b>${name}</b>` ``, in elements and in quoted attributes. */
export function html(texts: TemplateStringsArray, ...parts: readonly Part[]): Html {
  return new Html(texts.map((text, n) => text + written(parts[n] ?? null)).join(""));
}

function written(part: Part): string {
  if (part instanceof Html) return part.text;
  if (part === null || part === false) return "";
  if (typeof part === "object") return part.map(written).join("");
  return visible(String(part)).replaceAll(
    /[&<>"']/g,
    (character) => `&#${character.charCodeAt(0)};`,
  );
}

/**
 * Characters that nobody sees or that move others, as their code: controls, which HTML may not hold, and marks that
 * turn the direction of what follows. Line ends stay, and letters that are written from the right.
 */
const visible = (text: string): string =>
  text
    .toWellFormed()
    .replaceAll(
      /(?![\n\t])[\p{Cc}\u061C\u200B-\u200F\u2028-\u202E\u2060-\u206F\uFEFF\uFFF9-\uFFFB]/gu,
      (character) => String.raw`\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
    );
