/** A Vite plugin: gives each model that the site bundles a `files.json` (path, size, sha256), so that its files can be listed and checked. */
import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

const models = 'public/models'

/** @param {string} name */
function listing(name) {
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
  return `${JSON.stringify({ files })}\n`
}

/** The models by the names of their folders. */
const names = () => (existsSync(models) ? readdirSync(models) : [])

/** Writes the lists as files in a build, and answers with them in the dev server. @returns {import('vite').Plugin} */
export function listModels() {
  return {
    name: 'list-models',
    generateBundle() {
      for (const name of names()) this.emitFile({ type: 'asset', fileName: `models/${name}/files.json`, source: listing(name) })
    },
    configureServer(server) {
      server.middlewares.use((request, response, next) => {
        const [, name] = /^\/models\/([^/?]+)\/files\.json(?:\?|$)/.exec(request.url ?? '') ?? []
        if (name === undefined || !names().includes(name)) {
          next()
          return
        }
        response.setHeader('content-type', 'application/json')
        response.end(listing(name))
      })
    },
  }
}
