// @ghostery/adblocker as a judge of filters. Reads {"filters": [[line, [url, ...]], ...]} and writes, for each line,
// whether it matches each URL; null for a line that is no network filter to it. A file of the package is the argument.
// Nothing is fetched: only strings are compared.
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { createRequire } from 'node:module';

const require = createRequire(pathToFileURL(process.argv[2]));
const { NetworkFilter, Request } = require('@ghostery/adblocker');

const { filters } = JSON.parse(readFileSync(0, 'utf8'));
// A script of another site, and a page of its own: filters may ask for either.
const visits = [{ type: 'script', sourceUrl: 'https://elsewhere.invalid/' }, { type: 'document' }];
const answers = filters.map(([line, urls]) => {
  const filter = NetworkFilter.parse(line);
  if (filter === null) return null;
  return urls.map((url) =>
    visits.some(({ type, sourceUrl }) => filter.match(Request.fromRawDetails({ url, type, sourceUrl: sourceUrl ?? url }))),
  );
});
process.stdout.write(JSON.stringify(answers));
