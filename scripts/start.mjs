/** `npm start`: installs what is missing, builds the site and serves it. `--port N` and `--host H` are passed on; `--open` opens a browser. */
import { chdir } from 'node:process'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { ensureDependencies } from './setup.mjs'

chdir(fileURLToPath(new URL('..', import.meta.url)))
const { values } = parseArgs({
  options: {
    port: { type: 'string', default: '5173' },
    host: { type: 'string', default: '127.0.0.1' },
    open: { type: 'boolean', default: false },
  },
})
const port = Number(values.port)
if (!Number.isInteger(port) || port < 0 || port > 65_535) throw new Error(`--port must be 0 to 65535, not ${values.port}`)

ensureDependencies()
const { build, preview } = await import('vite')
await build({ logLevel: 'warn' })
const server = await preview({ preview: { port, host: values.host, open: values.open } })
console.log('\nAquatint is running. Open the page, type a prompt, and a picture is made on this machine.')
server.printUrls()
console.log('Stop with Ctrl-C.')
