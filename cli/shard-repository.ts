/**
 * Writes a repository anew: its weights in shards of a given size and type, everything else copied. The result appears under its name only
 * when it is whole; until then it grows in a folder beside it, which a second run with the same options takes up.
 */

import { mkdir, readdir, readFile, rename, rm, rmdir, stat, statfs } from 'node:fs/promises'
import { dirname, join, relative, resolve, sep } from 'node:path'
import { convertTable } from '../src/checkpoint/convert.js'
import { isFloatDType } from '../src/checkpoint/convert-floats.js'
import { readConfig } from '../src/checkpoint/model-index.js'
import type { TensorEntry } from '../src/checkpoint/types.js'
import { listWeightFiles, measureWeights, readWeightTable } from '../src/checkpoint/weight-table.js'
import { CheckpointError, InputError } from '../src/errors.js'
import { isWeightFile, readContents, type ComponentFiles } from './components.js'
import { FolderRepository } from './folder-repository.js'
import { ProgressBar, type CommandIO } from './output.js'
import { countRenamed, renameFormer } from './rename-tensors.js'
import { configText, conversionOf, dtypeOf, type DTypeChoice, type DTypeWord } from './shard-dtypes.js'
import { planShards, type ShardPlan } from './shard-plan.js'
import { formatBytes } from '../src/util/format-bytes.js'
import { knowsOrder, stateDictOrder } from './state-dict-order.js'
import { copyWhole, isWritten, markerOf, writeMarker, writeShard, writeText } from './write-shards.js'

export interface ShardOptions {
  readonly folder: string
  readonly out: string
  readonly maxShardSize: number
  readonly dtypes: DTypeChoice
  /** The variant that is read. */
  readonly variant: string | null
  /** The variant that the written files have in their names. */
  readonly saveVariant: string | null
}

interface ShardedComponent {
  readonly name: string
  readonly className: string
  readonly dtype: DTypeWord | null
  readonly parameters: number
  /** Bytes of the weights as they were, and as they are now. */
  readonly sourceBytes: number
  readonly bytes: number
  /** Whether shards hold what `save_pretrained` would put in them; else, for a class whose order is not known, the source's order. */
  readonly stateDictOrder: boolean
  /** Tensors whose names diffusers has changed since the checkpoint was made, written under today's. */
  readonly renamed: number
  readonly files: readonly { readonly path: string; readonly bytes: number }[]
}

export interface ShardResult {
  readonly out: string
  readonly components: readonly ShardedComponent[]
  readonly copied: readonly string[]
  /** Weights in other formats and variants, which were not taken along. */
  readonly leftOut: readonly string[]
  /** Tensors with finite numbers that float16 cannot hold: they are infinite now. */
  readonly overflows: readonly { readonly component: string; readonly tensor: string; readonly count: number }[]
}

interface Plan extends ShardPlan {
  readonly component: ComponentFiles
  readonly summary: ShardedComponent
}

/** @throws InputError, CheckpointError, UnsupportedError, AbortError, or an error of the file system */
export async function shardRepository(options: ShardOptions, io: CommandIO): Promise<ShardResult> {
  const out = resolve(options.out)
  await checkTarget(resolve(options.folder), out)
  const repository = new FolderRepository(options.folder)
  try {
    return await writeAnew(repository, out, options, io)
  } finally {
    await repository.close()
  }
}

async function writeAnew(repository: FolderRepository, out: string, options: ShardOptions, io: CommandIO): Promise<ShardResult> {
  const { components } = await readContents(repository, options.variant)
  checkNames(options.dtypes, components)
  const overflows = new Map<string, { component: string; tensor: string; count: number }>()
  const plans: Plan[] = []
  for (const component of components) {
    if (component.weights !== null) plans.push(await planComponent(repository, component, options, overflows))
  }
  if (plans.length === 0)
    throw new CheckpointError('no-weights', `No component of ${repository.id} has weights.`, { repository: repository.id })

  const files = await repository.files()
  const rewritten = new Map(
    plans.flatMap(({ component, summary }) =>
      summary.dtype === null ? [] : [[pathIn(component.name, 'config.json'), summary] as const],
    ),
  )
  const copied = files.filter((file) => !isWeightFile(file.path) && !rewritten.has(file.path))
  const read = new Set((await Promise.all(plans.map(({ component }) => filesRead(repository, component)))).flat())
  const leftOut = files.filter((file) => isWeightFile(file.path) && !read.has(file.path)).map((file) => file.path)
  const total = plans.reduce((sum, plan) => sum + plan.files.reduce((bytes, file) => bytes + file.byteLength, 0), 0)

  const incomplete = `${out}.incomplete`
  await takeUp(incomplete, await fingerprintOf(repository, options))
  await checkSpace(incomplete, plans)
  const progress = new ProgressBar(io, total)
  try {
    for (const plan of plans) await writePlan(plan, incomplete, progress, io.signal)
    for (const [path, summary] of rewritten) {
      if (summary.dtype === null || !files.some((file) => file.path === path)) continue
      const text = new TextDecoder().decode(await readWhole(repository, path))
      await writeText(join(incomplete, path), configText(text, await readConfig(repository, path), summary.dtype))
    }
    for (const { path } of copied) await copyWhole(join(repository.folder, path), join(incomplete, path))
  } finally {
    progress.clear()
  }
  await rm(markerOf(incomplete))
  // An empty folder may be there already.
  if (await exists(out)) await rmdir(out)
  await rename(incomplete, out)
  return {
    out,
    components: plans.map((plan) => plan.summary),
    copied: copied.map((file) => file.path),
    leftOut,
    overflows: [...overflows.values()],
  }
}

async function planComponent(
  repository: FolderRepository,
  component: ComponentFiles,
  options: ShardOptions,
  overflows: Map<string, { component: string; tensor: string; count: number }>,
): Promise<Plan> {
  const { weights, className, name } = component
  if (weights === null) throw new TypeError(`${name} has no weights`)
  const read = await readWeightTable(repository, weights)
  const table = renameFormer(className, read)
  const source = measureWeights(table)
  // Buffers of integers (position ids) are no parameters.
  const { parameters } = measureWeights(new Map([...table].filter(([, entry]) => isFloatDType(entry.dtype))))
  const dtype = dtypeOf(options.dtypes, component)
  const onOverflow = (tensor: string, count: number) => {
    const key = `${name}/${tensor}`
    overflows.set(key, { component: name, tensor, count: count + (overflows.get(key)?.count ?? 0) })
  }
  const converted = dtype === null ? table : convertTable(table, { ...conversionOf(dtype), onOverflow })
  const entries = stateDictOrder(className, [...converted.keys()]).map((tensor) => converted.get(tensor) as TensorEntry)
  const plan = planShards(entries, {
    library: weights.library,
    variant: options.saveVariant,
    maxShardSize: options.maxShardSize,
    parameters,
  })
  const summary: ShardedComponent = {
    name,
    className,
    dtype,
    parameters,
    sourceBytes: source.bytes,
    bytes: measureWeights(converted).bytes,
    stateDictOrder: knowsOrder(className),
    renamed: countRenamed(read, table),
    files: plan.files.map((file) => ({ path: pathIn(name, file.name), bytes: file.byteLength })),
  }
  return { ...plan, component, summary }
}

async function writePlan(plan: Plan, folder: string, progress: ProgressBar, signal: AbortSignal): Promise<void> {
  for (const file of plan.files) {
    const path = pathIn(plan.component.name, file.name)
    if (await isWritten(join(folder, path), file.byteLength)) {
      progress.add(file.byteLength, true)
      progress.line(`${path}: there already`)
      continue
    }
    progress.label(path)
    await writeShard(join(folder, path), file, { signal, onBytes: (bytes) => progress.add(bytes) })
    progress.line(`${path}: ${formatBytes(file.byteLength)}, ${file.tensors.length} tensors`)
  }
  if (plan.index !== null) await writeText(join(folder, pathIn(plan.component.name, plan.index.name)), plan.index.text)
}

function pathIn(component: string, file: string): string {
  return component === '' ? file : `${component}/${file}`
}

async function readWhole(repository: FolderRepository, path: string): Promise<Uint8Array> {
  const source = await repository.open(path)
  return source.read({ begin: 0, end: source.byteLength })
}

/** The files that the weights come from: the index and its shards, or the one file. */
async function filesRead(repository: FolderRepository, component: ComponentFiles): Promise<readonly string[]> {
  if (component.weights === null) return []
  const shards = await listWeightFiles(repository, component.weights)
  return [component.weights.path, ...shards]
}

function checkNames(dtypes: DTypeChoice, components: readonly ComponentFiles[]): void {
  const names = components.filter((component) => component.weights !== null).map((component) => component.name)
  for (const name of dtypes.keys()) {
    if (name !== '' && !names.includes(name))
      throw new InputError(
        'dtype',
        `--dtype names the component ${JSON.stringify(name)}; those with weights are ${names.join(', ')}.`,
        {
          component: name,
          allowed: names,
        },
      )
  }
}

async function exists(path: string): Promise<boolean> {
  return (await stat(path).catch(() => null)) !== null
}

async function checkTarget(folder: string, out: string): Promise<void> {
  const within = relative(folder, out)
  if (
    within === '' ||
    (!within.startsWith(`..${sep}`) && within !== '..' && resolve(folder, within) === out && !within.startsWith(sep))
  )
    throw new InputError('out-inside', `--out ${out} lies in the folder that is read.`, { out })
  const names = await readdir(out).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return []
    throw new InputError('out-exists', `--out ${out} is there already and is not a folder.`, { out }, error)
  })
  if (names.length > 0)
    throw new InputError(
      'out-exists',
      `--out ${out} is there already and not empty; nothing is overwritten. Choose another name or remove it.`,
      { out },
    )
}

/** What the result depends on: equal text, equal files. */
async function fingerprintOf(repository: FolderRepository, options: ShardOptions): Promise<string> {
  const files = await repository.files()
  const sources = await Promise.all(
    files.map(async ({ path, size }) => [path, size, (await stat(join(repository.folder, path))).mtimeMs] as const),
  )
  const { maxShardSize, dtypes, variant, saveVariant } = options
  return JSON.stringify({
    version: 1,
    folder: repository.folder,
    maxShardSize,
    dtypes: [...dtypes],
    variant,
    saveVariant,
    sources,
  })
}

/** Goes on where a run with the same fingerprint stopped; what another one left is removed. */
async function takeUp(incomplete: string, fingerprint: string): Promise<void> {
  const left = await readFile(markerOf(incomplete), 'utf8').catch(() => null)
  if (left === fingerprint) return
  if (left === null && (await readdir(incomplete).catch(() => [])).length > 0)
    throw new InputError(
      'incomplete-exists',
      `${incomplete} is needed for unfinished files, but holds something else. Remove or rename it.`,
      {
        folder: incomplete,
      },
    )
  await rm(incomplete, { recursive: true, force: true })
  await mkdir(dirname(incomplete), { recursive: true })
  await writeMarker(incomplete, fingerprint)
}

async function checkSpace(folder: string, plans: readonly Plan[]): Promise<void> {
  let needed = 0
  for (const { component, files } of plans) {
    for (const file of files) {
      if (!(await isWritten(join(folder, pathIn(component.name, file.name)), file.byteLength))) needed += file.byteLength
    }
  }
  const { bavail, bsize } = await statfs(folder)
  if (needed > bavail * bsize)
    throw new InputError(
      'disk-space',
      `The shards need ${formatBytes(needed)}, but ${folder} has ${formatBytes(bavail * bsize)} free.`,
      {
        needed,
        free: bavail * bsize,
      },
    )
}
