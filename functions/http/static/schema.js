// JSON Schema for people: a tree of fields, and an example.

const DEEPEST = 6;

/** What a `$ref` into the document stands for; anything else as it is. */
function resolved(spec, part) {
  if (!part?.$ref) return part ?? {};
  const target = part.$ref.slice(2).split("/").reduce((at, key) => at[key], spec);
  return { ...resolved(spec, target), ...without(part, "$ref") };
}

function without(object, key) {
  const { [key]: _, ...rest } = object;
  return rest;
}

/** The alternatives of a schema, and whether null is one of them. */
function alternatives(spec, schema) {
  const all = (schema.anyOf ?? schema.oneOf ?? [schema]).map((one) => resolved(spec, one));
  const real = all.filter((one) => one.type !== "null");
  return { real, nullable: real.length < all.length };
}

/** `string (uuid)`, `array of string`, `object or null`. */
function typeName(spec, given) {
  const schema = resolved(spec, given);
  const { real, nullable } = alternatives(spec, schema);
  const names = real.map((one) => {
    if (one.anyOf || one.oneOf) return typeName(spec, one);
    if (one.const !== undefined) return JSON.stringify(one.const);
    if (one.type === "array") return `array of ${typeName(spec, one.items ?? {})}`;
    return one.format ? `${one.type} (${one.format})` : (one.type ?? "any");
  });
  return [...new Set(names), ...(nullable ? ["null"] : [])].join(" or ");
}

const LIMITS = [
  ["minimum", "maximum", ""],
  ["minLength", "maxLength", " characters"],
  ["minItems", "maxItems", " items"],
];

/** `1 to 500 characters`, `at least 1`; null when neither end is bound. */
function range(schema, [least, most, unit]) {
  const [low, high] = [schema[least]?.toLocaleString("en"), schema[most]?.toLocaleString("en")];
  if (low === undefined && high === undefined) return null;
  if (high === undefined) return `at least ${low}${low === "1" ? unit.replace(/s$/, "") : unit}`;
  return low === undefined ? `at most ${high}${unit}` : `${low} to ${high}${unit}`;
}

/** Enum, limits and default of a schema, as short texts. */
function limits(spec, given) {
  const schema = resolved(spec, given);
  const found = [];
  for (const one of alternatives(spec, schema).real) {
    const values = one.enum ?? resolved(spec, one.items).enum;
    if (values) found.push(`one of ${values.join(", ")}`);
    found.push(...LIMITS.map((limit) => range(one, limit)).filter(Boolean));
  }
  const isPlain = schema.default !== null && typeof schema.default !== "object";
  if (schema.default !== undefined && isPlain) found.push(`default ${JSON.stringify(schema.default)}`);
  return found;
}

/** What a schema, or else its first alternative with something to say, is about. */
function descriptionOf(spec, given) {
  const schema = resolved(spec, given);
  return schema.description ?? alternatives(spec, schema).real.find((one) => one.description)?.description;
}

/** The fields of a schema as nested lists; null when it has none. `isAnswer`: what is absent is worth a word,
 * not what is present. */
function tree(spec, given, isAnswer = false, depth = 0) {
  const { real } = alternatives(spec, resolved(spec, given));
  const objects = real.map((one) => (one.type === "array" ? resolved(spec, one.items) : one));
  const lists = objects
    .filter((one) => one.properties && depth < DEEPEST)
    .map((one) => fields(spec, one, isAnswer, depth));
  if (lists.length < 2) return lists[0] ?? null;
  return h("div", {}, lists.map((list, index) => [h("p", { class: "quiet" }, index ? "or" : "either"), list]));
}

function fields(spec, schema, isAnswer, depth) {
  const required = new Set(schema.required);
  const items = Object.entries(schema.properties).map(([name, property]) => {
    const description = descriptionOf(spec, property);
    const isRequired = required.has(name);
    return h(
      "li",
      {},
      h("div", { class: "field" }, h("code", { class: "name" }, name), " ",
        h("span", { class: "type" }, typeName(spec, property)), " ",
        isRequired && !isAnswer ? h("span", { class: "required" }, "required") : null,
        isAnswer && !isRequired ? h("span", { class: "quiet" }, "may be absent") : null),
      description ? h("div", { class: "about" }, inline(description)) : null,
      h("div", { class: "quiet" }, limits(spec, property).join(" · ")),
      tree(spec, property, isAnswer, depth + 1),
    );
  });
  return h("ul", { class: "tree" }, items);
}

const SAMPLES = {
  uuid: "3fa85f64-5717-4562-b3fc-2c963f66afa6",
  "date-time": "2025-12-22T10:00:00Z",
  uri: "https://example.com/",
};

/** A value that fits the schema, for reading. */
function sample(spec, given, depth = 0) {
  const schema = alternatives(spec, resolved(spec, given)).real[0] ?? {};
  const told = schema.const ?? schema.example ?? schema.examples?.[0] ?? schema.default ?? schema.enum?.[0];
  if (told !== undefined && told !== null) return told;
  if (schema.anyOf || schema.oneOf) return sample(spec, schema, depth);
  if (depth > DEEPEST) return null;
  switch (schema.type) {
    case "object":
      return Object.fromEntries(
        Object.entries(schema.properties ?? {}).map(([name, one]) => [name, sample(spec, one, depth + 1)]),
      );
    case "array":
      return [sample(spec, schema.items, depth + 1)];
    case "integer":
    case "number":
      return schema.minimum ?? 0;
    case "boolean":
      return true;
    case "string":
      return SAMPLES[schema.format] ?? "text";
    default:
      return {};
  }
}
