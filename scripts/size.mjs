/** `npm run size`: gzip sizes of what each entry of the built site (`npm run build`) needs at first, and of what comes later. */
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { gzipSync } from 'node:zlib'

const site = 'dist/site'

/**
 * A file and all it names that is needed before it runs: a page's scripts and styles, a script's static imports.
 * @param {string} path
 * @param {Set<string>} found
 */
function needed(path, found = new Set()) {
  if (found.has(path)) return found
  found.add(path)
  const text = readFileSync(join(site, path), 'utf8')
  const names = path.endsWith('.html')
    ? text.matchAll(/(?:src|href)="(\.\/[^"]+\.(?:js|css))"/g)
    : path.endsWith('.js')
      ? text.matchAll(/(?:^|[;}\s])(?:import|export)\s*(?:[^"'()]*?from\s*)?["'](\.{1,2}\/[^"']+)["']/g)
      : []
  for (const [, name = ''] of names) needed(normalize(join(dirname(path), name)), found)
  return found
}

/** @param {string} path */
const gzipSize = (path) => gzipSync(readFileSync(join(site, path))).length
/** @param {number} bytes */
const kilobytes = (bytes) => `${(bytes / 1000).toFixed(1)} kB`.padStart(12)

for (const entry of ['index.html', 'embed.html', 'element.js']) {
  const files = [...needed(entry)]
  console.log(
    `${kilobytes(files.reduce((sum, path) => sum + gzipSize(path), 0))}  ${entry} with ${files.length - 1} files it needs at first`,
  )
}
console.log('later, as needed:')
for (const name of readdirSync(join(site, 'assets')).sort()) {
  if (/\.wasm$|worker|^ort\./.test(name)) console.log(`${kilobytes(gzipSize(join('assets', name)))}  ${name}`)
}
