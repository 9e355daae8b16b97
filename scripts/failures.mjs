// Prints the failed tests of a TAP log of node --test: name and the reason's first lines.
import fs from 'node:fs';

const lines = fs.readFileSync(process.argv[2], 'utf8').split('\n');
let shown = 0;
for (let i = 0; i < lines.length && shown < 40; i++) {
	const m = /^(\s*)not ok \d+ - (.*)/.exec(lines[i]);
	if (!m) continue;
	const block = [];
	for (let k = i + 1; k < lines.length && !/^\s*\.\.\.\s*$/.test(lines[k]); k++) block.push(lines[k]);
	const text = block.join('\n');
	// A suite fails because of the tests in it, which are told themselves.
	if (/type: 'suite'/.test(text) || /failureType: 'subtestsFailed'/.test(text)) continue;
	shown++;
	console.log(`   not ok: ${m[2]}`);
	const from = block.findIndex((l) => /^\s*error:/.test(l));
	if (from >= 0) console.log(block.slice(from, from + 26).map((l) => `      ${l.trim()}`).join('\n'));
}
