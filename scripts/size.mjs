/**
 * `npm run size`: gzip sizes of the files that each entry of the built site (`npm run build`) loads first, and of those that it loads later.
 * `--write` puts them into the guide, `--check` fails if the guide is wrong, or if an entry loads a part of the runtime first.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { gzipSync } from 'node:zlib'

const site = 'dist/site'

/**
 * Returns a file and all files that a browser loads before the file runs: a page's scripts and styles, a script's static imports.
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
const gzipSize = (path) => {
  const bytes = readFileSync(join(site, path))
  return path.endsWith('.gz.bin') ? bytes.length : gzipSync(bytes).length
}
/** @param {number} bytes */
const shown = (bytes) => (bytes < 1e6 ? `${Math.round(bytes / 1000)} kB` : `${(bytes / 1e6).toFixed(1)} MB`)
/** @param {RegExp} name */
const asset = (name) => {
  const found = readdirSync(join(site, 'assets')).filter((file) => name.test(file))
  if (found.length !== 1) throw new Error(`${name} should be one file of ${site}/assets, not ${found.length}`)
  return join('assets', found[0] ?? '')
}

/** The files of each entry, by when they are loaded. A page loads one of the three wasm builds, depending on the browser. */
const parts = [
  { what: 'the tag: `element.js`', files: [...needed('element.js')] },
  { what: 'the library: `aquatint.js`', files: [...needed('aquatint.js')] },
  { what: 'the frame: `embed.html`', files: [...needed('embed.html')] },
  { what: 'the page: `index.html`', files: [...needed('index.html')] },
  { what: "with the first load: the engine's worker", files: [asset(/^engine\.worker.*\.js$/)], later: true },
  ...['jspi', 'asyncify', ''].map((build) => ({
    what: `then one of: onnxruntime-web's wasm, ${build === '' ? 'for the CPU only' : `\`${build}\``}`,
    files: [asset(new RegExp(`^ort-wasm[a-z-]*${build === '' ? '' : `\\.${build}`}-[^.]*\\.wasm(\\.gz\\.bin)?$`))],
    later: true,
  })),
]
const sizes = parts.map(({ what, files, later = false }) => {
  const heavy = files.find((path) => /\.wasm(\.gz\.bin)?$|worker|(^|\/)ort\./.test(path))
  if (!later && heavy !== undefined)
    throw new Error(`${what} loads ${heavy} at once; it should load when the page first needs it`)
  return { what, bytes: files.reduce((sum, path) => sum + gzipSize(path), 0) }
})
const rows = sizes.map(({ what, bytes }) => `| ${what} | ${shown(bytes)} |`)
console.log(rows.join('\n'))

const guide = 'docs/embedding.md'
const [begin, end] = ['<!-- sizes: npm run size -- --write -->', '<!-- end of sizes -->']
const text = readFileSync(guide, 'utf8')
const [from, to] = [text.indexOf(begin) + begin.length, text.indexOf(end)]
if (process.argv.includes('--write')) {
  const table = ['| | gzip |', '| --- | ---: |', ...rows].join('\n')
  writeFileSync(guide, `${text.slice(0, from)}\n\n${table}\n\n${text.slice(to)}`)
} else if (process.argv.includes('--check')) {
  // The sizes in the guide may be wrong by a tenth, so that a changed line of code rarely needs a change of the guide.
  const told = [...text.slice(from, to).matchAll(/^\| (.*) \| ([\d.]+) (k|M)B \|$/gm)]
  const wrong = sizes.filter(({ what, bytes }) => {
    const [, , number, unit] = told.find(([, name]) => name === what) ?? []
    return !(Math.abs(Number(number) * (unit === 'k' ? 1e3 : 1e6) - bytes) <= bytes / 10)
  })
  for (const { what, bytes } of wrong)
    console.error(`${guide} is wrong about "${what}", which is ${shown(bytes)}: run "npm run size -- --write"`)
  if (wrong.length > 0 || told.length !== sizes.length) process.exitCode = 1
}
