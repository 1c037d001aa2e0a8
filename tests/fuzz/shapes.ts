import * as fc from "fast-check";
import * as z from "zod";
import { anyJson, anyJsonObject } from "../../src/schema/shapes.ts";

type Values = fc.Arbitrary<unknown>;

const texts = fc.string({ unit: "grapheme", maxLength: 12 });
const documents = fc.jsonValue({ maxDepth: 2, stringUnit: "grapheme" });
const objects = fc.dictionary(texts, documents, { maxKeys: 3 });

/** Values that a JSON shape accepts. */
export function valuesOf(shape: z.core.$ZodType): Values {
  if (shape === anyJson) return documents;
  if (shape === anyJsonObject) return objects;
  if (shape instanceof z.ZodString) return texts.filter((text) => z.safeParse(shape, text).success);
  if (shape instanceof z.ZodNumber) return numbersOf(shape);
  if (shape instanceof z.ZodISODateTime) return instants;
  if (shape instanceof z.ZodLiteral) return fc.constantFrom(...shape.values);
  if (shape instanceof z.ZodNullable) return fc.option(valuesOf(shape.unwrap()));
  if (shape instanceof z.ZodOptional) return valuesOf(shape.unwrap());
  if (shape instanceof z.ZodArray) return fc.array(valuesOf(shape.element), listOf(shape));
  if (shape instanceof z.ZodRecord) return fc.dictionary(texts, valuesOf(shape.valueType));
  if (shape instanceof z.ZodUnion) return fc.oneof(...shape.options.map(valuesOf));
  if (shape instanceof z.ZodObject) return openObjects(shape);
  throw new Error(`the fuzz has no values of the JSON shape ${shape._zod.def.type}`);
}

const instants = fc
  .date({ noInvalidDate: true, min: new Date(0), max: new Date("2100-01-01") })
  .map((date) => date.toISOString());

function numbersOf({ minValue, maxValue, isInt }: z.ZodNumber): Values {
  const [min, max] = [Math.max(minValue ?? -1e15, -1e15), Math.min(maxValue ?? 1e15, 1e15)];
  return isInt
    ? fc.integer({ min, max: Math.min(max, 2 ** 31) })
    : fc.double({ min, max, noNaN: true });
}

/** Enough elements for a list that must have some. */
const listOf = (shape: z.ZodArray) => ({
  minLength: z.safeParse(shape, []).success ? 0 : 1,
  maxLength: 3,
});

/** The keys of the shape, and a user's own. */
function openObjects({ shape }: z.ZodObject): Values {
  const entries = Object.entries(shape);
  const given = fc.record(
    Object.fromEntries(entries.map(([key, inner]) => [key, valuesOf(inner)])),
    {
      requiredKeys: entries.flatMap(([key, inner]) =>
        inner instanceof z.ZodOptional ? [] : [key],
      ),
    },
  );
  return fc.tuple(objects, given).map(([own, ours]) => ({ ...own, ...ours }));
}
