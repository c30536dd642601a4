// What the scripts share. Each runs against a provider that repeats prompts and calls each tool twice.
export const base = process.env.MLSDM_BASE_URL;
export const question = "How is the weather?";
export const answer = "It is sunny in Rome and It is sunny in Oslo";
export const weather = (city) => `It is sunny in ${city}`;

// the server names answers itself, and asks for a stream where a client does not: fields without a
// content are absent then
const own = (name, field) =>
  ["mlsdm", "created", "created_at"].includes(name) ||
  (name === "id" && /^(msg_|chatcmpl-|resp_)/.test(field)) ||
  field === null ||
  field === "" ||
  (Array.isArray(field) && field.length === 0);

const bare = (value) => {
  if (Array.isArray(value)) {
    return value.map(bare);
  }
  if (value && typeof value === "object") {
    const fields = Object.entries(value).filter(([name, field]) => !own(name, field));
    return Object.fromEntries(fields.sort().map(([name, field]) => [name, bare(field)]));
  }
  return value;
};

const seen = [];
export const show = (value) => seen.push(bare(JSON.parse(JSON.stringify(value))));

export const run = async (parts) => {
  await parts[process.argv[2]]();
  console.log(JSON.stringify(seen));
};
