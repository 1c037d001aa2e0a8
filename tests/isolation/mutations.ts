import type { Mutation } from "./breaking.ts";
import { privilegeBreaks, roleBreaks, tableBreaks } from "./catalog-breaks.ts";
import { claimBreaks, functionBreaks } from "./function-breaks.ts";
import { policyBreaks, referenceBreaks } from "./policy-breaks.ts";

/** Every way we know to break the isolation of tenants. */
export const mutations: readonly Mutation[] = [
  ...policyBreaks,
  ...referenceBreaks,
  ...claimBreaks,
  ...functionBreaks,
  ...privilegeBreaks,
  ...roleBreaks,
  ...tableBreaks,
];
