/**
 * For the build of the site: some static hosts refuse files of more than 25 MiB, and onnxruntime-web's build for browsers without JSPI is
 * larger. The build keeps such a WebAssembly file compressed, under a name for which hosts do not set a content encoding, and
 * src/runtime/wasm-files.ts unpacks it. (gzip ends with a checksum, so a file that was cut short is not run.)
 */
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'

const limit = 25 * 2 ** 20
/** Not `.gz` alone: hosts may send such a file with a content encoding, and browsers then unpack it themselves. */
const ending = '.gz.bin'

/** Compresses the WebAssembly files that are too large, and prints the names of other files that are too large. @returns {import('vite').Plugin} */
export function compressWasm() {
  return {
    name: 'compress-wasm',
    apply: 'build',
    writeBundle({ dir = '' }, bundle) {
      const names = Object.keys(bundle)
      for (const name of names) {
        const bytes = readFileSync(join(dir, name))
        if (bytes.length <= limit) continue
        const compressed = name.endsWith('.wasm') ? gzipSync(bytes, { level: 9 }) : bytes
        if (compressed.length > limit) {
          this.warn(`${name} has ${(bytes.length / 2 ** 20).toFixed(1)} MiB. Some static hosts refuse files of more than 25 MiB.`)
          continue
        }
        writeFileSync(join(dir, name + ending), compressed)
        rmSync(join(dir, name))
        const file = name.split('/').at(-1) ?? name
        for (const script of names.filter((each) => each.endsWith('.js'))) {
          const text = readFileSync(join(dir, script), 'utf8')
          if (text.includes(file)) writeFileSync(join(dir, script), text.replaceAll(file, file + ending))
        }
      }
    },
  }
}
