/** A Vite plugin: puts a `files.json` (path, size, sha256) beside each model that the site bundles, so that its files can be listed and checked. */
import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

const models = 'public/models'

/** @returns {import('vite').Plugin} */
export function listModels() {
  return {
    name: 'list-models',
    apply: 'build',
    generateBundle() {
      for (const name of existsSync(models) ? readdirSync(models) : []) {
        const folder = join(models, name)
        const files = readdirSync(folder, { recursive: true, withFileTypes: true })
          .filter((entry) => entry.isFile() && entry.name !== 'files.json')
          .map((entry) => {
            const full = join(entry.parentPath, entry.name)
            const bytes = readFileSync(full)
            const path = full.slice(folder.length + 1).replaceAll('\\', '/')
            return { path, size: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') }
          })
          .sort((a, b) => (a.path < b.path ? -1 : 1))
        this.emitFile({ type: 'asset', fileName: `models/${name}/files.json`, source: `${JSON.stringify({ files })}\n` })
      }
    },
  }
}
