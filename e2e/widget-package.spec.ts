/**
 * The package as it is published: packed, unpacked into a separate project together with the dependencies that it declares, and
 * type-checked there (docs/embedding.md). browsers/package.spec.ts builds and runs it.
 */

import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { main } from './ui/consumer-main.js'
import { expect, test } from './ui/consumer.js'

test('the types are correct for a strict consumer, also without the types of Node or Vite', ({ consumer }) => {
  consumer.write({ 'main.ts': main })
  expect(consumer.typeErrors()).toBe('')
})

test('TypeScript 5.6 to the newest accepts the types, with the library’s files checked too and without names newer than ES2022', ({
  consumer,
}) => {
  const lib = ['es2022', 'dom']
  // The module has no `await using`, which needs one more lib.
  consumer.write({ 'main.ts': main.replace('await using pipeline', 'const pipeline') })
  for (const typescript of ['typescript-5.6', 'typescript']) expect(consumer.typeErrors({ typescript, lib })).toBe('')
  // TypeScript 5.6 rejects typed arrays with a type argument, so it read the package's declarations for old versions above.
  consumer.write({ 'main.ts': `const data: Uint8Array<ArrayBuffer> = new Uint8Array(1)\nexport { data }\n` })
  expect(consumer.typeErrors({ typescript: 'typescript-5.6', lib })).toContain('not generic')
})

/** A module whose third line is wrong. */
const wrong = (line: string) => `import { DiffusionPipeline } from 'aquatint'\nimport 'aquatint/element'\n${line}\n`

test('the types reject wrong code', ({ consumer }) => {
  consumer.write({
    'option.ts': wrong(`await DiffusionPipeline.fromPretrained('a/b', { variants: 'fp16' })`),
    'value.ts': wrong(`await DiffusionPipeline.fromPretrained('a/b', { offload: 'some' })`),
    'property.ts': wrong(`document.createElement('aquatint-prompt').prompts = ''`),
    'event.ts': wrong(`document.createElement('aquatint-prompt').addEventListener('image', ({ detail }) => detail.picture)`),
  })
  const errors = consumer.typeErrors()
  for (const name of ['option.ts', 'value.ts', 'property.ts', 'event.ts']) expect(errors).toContain(`src/${name}(3,`)
})

test('the types in the manifest are those of the element', ({ consumer }) => {
  interface Typed {
    readonly name: string
    readonly kind?: string
    readonly type?: { readonly text: string }
    readonly return?: { readonly type: { readonly text: string } }
  }
  const { modules } = JSON.parse(readFileSync(join(consumer.installed, 'custom-elements.json'), 'utf8')) as {
    modules: { declarations: Record<'attributes' | 'members' | 'events', Typed[]>[] }[]
  }
  const { attributes, members, events } = modules[0]!.declarations[0]!
  const options: Readonly<Record<string, string>> = {
    dtype: 'WeightsDType',
    device: "DeviceKind | 'auto'",
    offload: 'OffloadMode',
  }
  const pairs = [
    ...members.map(({ name, kind, type, return: result }) =>
      kind === 'method'
        ? [`ReturnType<AquatintPrompt['${name}']>`, result?.type.text]
        : [`AquatintPrompt['${name}']`, type?.text],
    ),
    ...events.map(({ name, type }) => [`CustomEvent<AquatintPromptEvents['${name}']>`, type?.text]),
    ...attributes.flatMap(({ name, type }) => (name in options ? [[options[name], type?.text]] : [])),
  ]
  expect(pairs.length).toBeGreaterThan(30)
  const same = (text: string | undefined, i: number) => `export const same${i}: Same<${pairs[i]?.[0]}, ${text}> = true`
  const source = (texts: readonly (string | undefined)[]) => `
import type { DeviceKind, DiffusionPipeline, GeneratedImage, LoadPipelineOptions, OffloadMode, PipelineInfo, ProgressReport, StepInfo, WeightsDType } from 'aquatint'
import type { AquatintPrompt, AquatintPromptEvents, ImageDetail, ModelOption, PromptSettings } from 'aquatint/element'
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : never
${texts.map(same).join('\n')}
`
  consumer.write({ 'manifest.ts': source(pairs.map(([, text]) => text)) })
  expect(consumer.typeErrors()).toBe('')
  // Check that the comparison can fail.
  consumer.write({ 'manifest.ts': source(pairs.map(() => 'bigint')) })
  expect(consumer.typeErrors().match(/error TS2322/g)).toHaveLength(pairs.length)
})

test('publint and attw report nothing', ({ consumer }) => {
  consumer.run('publint/src/cli.js', consumer.tarball, '--strict')
  // The manifest is data, and the worker is a script that nobody imports: neither has types.
  const known = ['--exclude-entrypoints', './custom-elements.json', './worker']
  consumer.run('@arethetypeswrong/cli/dist/index.js', consumer.tarball, '--profile', 'esm-only', ...known)
  expect(existsSync(join(consumer.installed, 'custom-elements.json'))).toBe(true)
})

test('the package contains the built files, and nothing from the tests, the fixtures or the site', ({ consumer }) => {
  const files = readdirSync(consumer.installed, { recursive: true, withFileTypes: true }).flatMap((entry) =>
    entry.isFile()
      ? [
          join(entry.parentPath, entry.name)
            .slice(consumer.installed.length + 1)
            .replaceAll('\\', '/'),
        ]
      : [],
  )
  expect(files).toEqual(
    expect.arrayContaining([
      'package.json',
      'README.md',
      'LICENSE',
      'custom-elements.json',
      'dist/library/index.js',
      'dist/library/element.js',
      'dist/library/engine.worker.js',
    ]),
  )
  expect(files.filter((file) => /test|fixture|e2e|\.map$|dist\/site|models\//.test(file))).toEqual([])
})
