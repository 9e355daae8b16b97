// A certificate authority for one test: made anew, trusted by nobody else.
import fs from 'node:fs';
import path from 'node:path';
import { execFileSync } from 'node:child_process';

/** { ca, server: {cert, key}, client: {cert, key} }: file names below `directory`. */
export function makeCertificates(directory) {
	const at = (name) => path.join(directory, name);
	const openssl = (...args) => execFileSync('openssl', args, { stdio: 'pipe', cwd: directory });
	const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];
	openssl('req', '-x509', ...key, '-keyout', 'ca.key', '-out', 'ca.pem', '-subj', '/CN=Test authority', '-addext', 'basicConstraints=critical,CA:TRUE');
	for (const [name, extension] of [['server', 'subjectAltName=IP:127.0.0.1,DNS:localhost'], ['client', 'extendedKeyUsage=clientAuth']]) {
		fs.writeFileSync(at(`${name}.ext`), extension);
		openssl('req', ...key.slice(0, -2), '-keyout', `${name}.key`, '-out', `${name}.csr`, '-subj', `/CN=${name}`);
		openssl('x509', '-req', '-in', `${name}.csr`, '-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial', '-days', '2', '-extfile', `${name}.ext`, '-out', `${name}.pem`);
	}
	const pair = (name) => ({ cert: at(`${name}.pem`), key: at(`${name}.key`) });
	return { ca: at('ca.pem'), server: pair('server'), client: pair('client') };
}
