/**
 * Writes the package's type declarations into dist/library: TypeScript writes one file for each source, and Rollup joins those that the
 * public names need, so that no internal declaration can fail in a consumer's check. TypeScript before 5.7 gets a copy
 * without the type argument of typed arrays, which it does not know.
 */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync, mkdirSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { rollup } from 'rollup'
import { dts } from 'rollup-plugin-dts'

/** `await using` needs names that the libs up to ES2024 do not have. */
const disposable = '/// <reference lib="esnext.disposable" />\n'

const single = realpathSync(mkdtempSync(join(tmpdir(), 'aquatint-types-')))
try {
  execFileSync(process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.types.json', '--outDir', single], {
    stdio: 'inherit',
  })
  const bundle = await rollup({
    input: { index: join(single, 'index.d.ts'), element: join(single, 'ui/element.d.ts') },
    external: /^[@a-z]/,
    plugins: [dts()],
    onwarn: ({ message }) => {
      throw new Error(message)
    },
  })
  const names = { entryFileNames: '[name].d.ts', chunkFileNames: 'shared.d.ts' }
  await bundle.write({ dir: 'dist/library/types', format: 'es', banner: disposable, ...names })
} finally {
  rmSync(single, { recursive: true })
}

const older = 'dist/library/types-5.6'
mkdirSync(older, { recursive: true })
for (const name of readdirSync('dist/library/types')) {
  const text = readFileSync(join('dist/library/types', name), 'utf8')
  writeFileSync(join(older, name), text.replaceAll(/\b(\w+Array)<ArrayBuffer>/g, '$1'))
}
