// Node as a judge of a PAC file. Reads {"script": text, "hosts": [...]} and writes what the script returns for each.
// It runs in a context of its own, which has the functions of PAC files and nothing else; names are never resolved.
import { readFileSync } from 'node:fs';
import vm from 'node:vm';

const { script, hosts } = JSON.parse(readFileSync(0, 'utf8'));
const isAddress = (host) => /^\d+\.\d+\.\d+\.\d+$/.test(host);
const masked = (text, mask) => text.split('.').map((part, at) => Number(part) & Number(mask.split('.')[at])).join('.');
const functions = {
  dnsDomainIs: (host, domain) => host.length >= domain.length && host.endsWith(domain),
  localHostOrDomainIs: (host, name) => host === name || (!host.includes('.') && name.startsWith(host + '.')),
  isPlainHostName: (host) => !host.includes('.'),
  isResolvable: () => false,
  dnsResolve: () => null,
  myIpAddress: () => '127.0.0.1',
  dnsDomainLevels: (host) => host.split('.').length - 1,
  isInNet: (host, net, mask) => typeof host === 'string' && isAddress(host) && masked(host, mask) === masked(net, mask),
  shExpMatch: (text, glob) =>
    new RegExp('^' + glob.replace(/[.+^${}()|[\]\\]/g, '\\$&').replace(/\*/g, '.*').replace(/\?/g, '.') + '$').test(text),
  weekdayRange: () => false,
  dateRange: () => false,
  timeRange: () => false,
  alert: () => undefined,
};
// In a function its variables are local: the globals of such a context take a microsecond each.
const context = vm.createContext(functions);
const find = vm.runInContext(`(function () {${script}\n; return FindProxyForURL; })()`, context, { timeout: 10000 });
const answers = hosts.map((host) => String(find(`https://${host}/`, host)));
process.stdout.write(JSON.stringify(answers));
