/** How a uuid is written. */

/** As PostgreSQL reads one: hyphens after any four digits. */
const SPELLINGS = /^(?:[0-9a-f]{4}-?){7}[0-9a-f]{4}$/i;
const CANONICAL = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/**
 * The lower-case 8-4-4-4-12 form of a uuid in any spelling that PostgreSQL takes: 32 hex digits, hyphens
 * after any four of them, in upper case or braces. Undefined for any other text.
 */
export function canonicalUuid(text: string): string | undefined {
  if (CANONICAL.test(text)) return text;
  const bare = text.startsWith("{") && text.endsWith("}") ? text.slice(1, -1) : text;
  return SPELLINGS.test(bare) ? hyphened(bare.replaceAll("-", "").toLowerCase()) : undefined;
}

/** The uuid of 32 hex digits. */
export const hyphened = (hex: string): string =>
  `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
