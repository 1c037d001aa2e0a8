// A module and no JSON, since the rooms of src are an order: each imports only what stands to its left.

/** The rooms from left to right. A folder, or a file that is a door; a door that belongs to a room beside it. */
const ROOMS = [
  ["values.ts"],
  ["schema/"],
  ["relations.ts"],
  ["migrations.ts"],
  ["config.ts"],
  ["client/"],
  ["validation/", "zod.ts"],
  ["fleet/"],
  ["ingest/", "otel.ts"],
  ["operate/"],
  ["embedded.ts", "drizzle-kit.ts"],
  ["demo/", "report/"],
  ["cli/", "index.ts", "testing.ts"],
];
/** The groups of tables, which refer only to those before them. */
const GROUPS = ["governance", "monitoring", "evaluation", "safety", "learning-cost", "embeddings"];

const oneOf = (places) => `(${places.join("|").replaceAll(".", "\\.")})`;

function restricted(file, patterns) {
  const rule = ["error", { patterns }];
  return { files: [`src/${file}`], rules: { "no-restricted-imports": rule } };
}

/** A door says `./client/`, a file of a room `../client/` or `../../client/`. */
function onlyLeft(place, index) {
  const up = place.endsWith("/") ? "^(\\.\\./)+" : "^\\./";
  const right = ROOMS.slice(index + 1).flat();
  return {
    regex: up + oneOf(right),
    message: `${place} stands to the left of that: the order of the rooms is in CONTRIBUTING.md.`,
  };
}

const rooms = ROOMS.slice(0, -1).flatMap((places, index) =>
  places.map((place) => restricted(place.replace(/\/$/, "/**"), [onlyLeft(place, index)])),
);
const groups = GROUPS.map((group, index) =>
  restricted(`schema/${group}.ts`, [
    onlyLeft("schema/", 1),
    {
      regex: `^\\./${oneOf([...GROUPS.slice(index + 1), "index", "all"])}\\.ts$`,
      message: `${group} refers only to the groups before it: ${GROUPS.join(", ")}.`,
    },
  ]),
);

export default {
  plugins: ["typescript", "unicorn", "oxc", "import", "promise", "node"],
  categories: { correctness: "error", suspicious: "error", perf: "error" },
  rules: {
    "typescript/no-explicit-any": "error",
    "typescript/no-non-null-assertion": "error",
    "typescript/consistent-type-imports": "error",
    "typescript/switch-exhaustiveness-check": [
      "error",
      { considerDefaultExhaustiveForUnions: true },
    ],
    "import/no-cycle": ["error", { ignoreTypes: false }],
    // A bundler cannot shake the name z: it keeps all of zod, 450 kB.
    "unicorn/import-style": [
      "error",
      { extendDefaultStyles: false, styles: { zod: { namespace: true } } },
    ],
    "no-await-in-loop": "off",
    "no-underscore-dangle": "off",
    "typescript/consistent-return": "off",
    "typescript/no-unnecessary-type-parameters": "off",
    "unicorn/no-useless-spread": "off",
    "oxc/no-map-spread": "off",
    "unicorn/consistent-function-scoping": "off",
  },
  overrides: [...rooms, ...groups],
  ignorePatterns: ["drizzle/**", "dist/**"],
};
