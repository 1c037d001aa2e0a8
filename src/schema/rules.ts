/** The rules of the tables in words, as refusals and pages say them. */
import { type ColumnRule, INT4_MAX, type RowRule } from "./table.ts";

/** The rule in words, as it stands in a refusal: `percent, 0 to 100`. */
export function ruleInWords(rule: ColumnRule): string {
  switch (rule.kind) {
    case "range":
      return inWords(rule);
    case "oneOf":
      return `one of ${rule.values.join(", ")}`;
    case "length":
      return `text of ${rule.min} to ${rule.max} characters`;
    case "elements":
      return rule.max === undefined
        ? "a list of texts"
        : `a list of texts of ${rule.min} to ${rule.max} characters`;
    case "instant":
      return "a Date of the years 1 to 9999";
    case "day":
      return "a day, YYYY-MM-DD";
    case "json":
      return rule.form ? `a JSON ${rule.form}` : "JSON";
  }
}

function inWords({ unit, min, max = INT4_MAX }: ColumnRule & { kind: "range" }): string {
  const words = unit.startsWith("US") ? unit : unit.charAt(0).toLowerCase() + unit.slice(1);
  return words.includes(" to ") ? words : `${words}, ${min} to ${max}`;
}

/** A rule between columns in words; the first column is the one to blame. */
export function rowRuleInWords({ kind }: RowRule, [first = "", ...others]: string[]): string {
  switch (kind) {
    case "not before":
      return `${first} must not be before or below ${others.join(", ")}`;
    case "after":
      return `${first} must be after ${others.join(", ")}`;
    case "different":
      return `${first} and ${others.join(", ")} must differ`;
    case "some":
      return `one of ${[first, ...others].join(", ")} must be given`;
  }
}
