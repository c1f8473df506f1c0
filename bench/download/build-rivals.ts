/** Installs the packages that Aquatint is compared with, through npm, and bundles them for a page. They are not dependencies of the project. */

import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'vite'

const packages = { hub: '@huggingface/hub@2.17.5', transformers: '@huggingface/transformers@4.3.1' }

/** The versions of the packages, to be printed beside the figures. */
export const rivalVersions: readonly string[] = Object.values(packages)

/** The page's script. */
export async function buildRivals(): Promise<string> {
  const cache = fileURLToPath(new URL('../../node_modules/.cache/aquatint-bench/', import.meta.url))
  for (const [name, spec] of Object.entries(packages)) {
    const folder = join(cache, name)
    if (existsSync(join(folder, 'package', 'package.json'))) continue
    mkdirSync(folder, { recursive: true })
    const archive = execFileSync('npm', ['pack', spec, '--silent', '--pack-destination', folder], { encoding: 'utf8' }).trim()
    execFileSync('tar', ['xzf', join(folder, archive), '-C', folder])
  }
  const empty = join(cache, 'empty.js')
  writeFileSync(empty, 'export default {}\n')
  const built = await build({
    configFile: false,
    logLevel: 'error',
    resolve: {
      alias: {
        '@huggingface/xetchunk-wasm': empty,
        '@huggingface/tasks': empty,
        'virtual:hub': join(cache, 'hub/package/dist/browser/index.mjs'),
        'virtual:transformers-env': join(cache, 'transformers/package/src/env.js'),
        'virtual:transformers': join(cache, 'transformers/package/src/utils/hub.js'),
        'node:fs': empty,
        'node:path': empty,
        'node:url': empty,
      },
    },
    build: {
      write: false,
      target: 'es2023',
      // Exports are missing from the dependencies that `alias` replaces with an empty module. They are for uploads and models, and unused.
      rolldownOptions: { shimMissingExports: true },
      lib: { entry: fileURLToPath(new URL('rivals.js', import.meta.url)), formats: ['es'], fileName: 'rivals' },
    },
  })
  const [output] = Array.isArray(built) ? built : [built]
  if (output === undefined || !('output' in output)) throw new Error('The rivals were not built')
  return output.output[0].code
}
