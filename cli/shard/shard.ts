/** `aquatint shard`: its options and its output. shard-repository.ts does the work. */

import { checkVariantName } from '../../src/checkpoint/weight-files.js'
import { InputError } from '../../src/errors.js'
import { checkBaseUrl } from '../../src/hub/names.js'
import { readArguments } from '../arguments.js'
import { table, type CommandIO } from '../output.js'
import { pathIn } from './shard-component.js'
import { parseDTypes } from './shard-dtypes.js'
import { shardRepository, type ShardResult } from './shard-repository.js'
import { parseMemorySize } from '../../src/memory/budget.js'
import { formatBytes } from '../../src/util/format-bytes.js'
import type { Command } from '../command.js'

const help = `Usage: aquatint shard <folder or file> --out <folder> [options]

Rewrites a checkpoint in diffusers' layout with its weights in shards of a given size and, optionally, of another type. The
result is what save_pretrained(max_shard_size=...) would write: the same names, the same split, the same index. diffusers and
Aquatint load it. Weights are streamed, so only a few megabytes are in memory at a time.

  <folder>                 a repository with model_index.json, or one component with config.json
  <file>                   a checkpoint in one .safetensors or .gguf file, to convert into a folder in diffusers' layout
  --out <folder>           the folder to write; it must not exist, or be empty
  --max-shard-size <size>  the most bytes of tensors in one file: 2GB (10^9), 500MB, 1GiB (2^30). Default: 5GB
  --dtype <type>           float32, float16, bfloat16, q8 or q4; give it again for single components:
                           --dtype float16 --dtype text_encoder_3=q4. Default: unchanged
  --variant <name>         read the weights of this variant (fp16) where a component has them
  --save-variant <name>    put this variant into the names of written files
  --config <repository>    a folder or repository with the configs of a checkpoint in one file, and what the file lacks.
                           Default: the repository of its family on the Hub (HF_TOKEN opens gated ones)
  --endpoint <URL>         a mirror of the Hub
  --json                   print one JSON document; progress stays on stderr

q8 and q4 store the Linear weights of all components but a VAE as blocks of 32 codes of 8 or 4 bits with a float16 scale; all
other weights become float16. Only Aquatint reads them: a note in config.json makes diffusers refuse them.

Files are written to <out>.incomplete, which is renamed at the end (a mount point is filled in place). After an interruption
the same command continues where it stopped.

Examples
  aquatint shard sdxl --out sdxl-sharded --max-shard-size 2GB
  aquatint shard sdxl --out sdxl-half --max-shard-size 500MB --dtype float16
  aquatint shard sd3 --out sd3-small --max-shard-size 1GB --dtype float16 --dtype text_encoder_3=q4
  aquatint shard dreamshaper.safetensors --out dreamshaper
  aquatint shard sdxl --variant fp16 --out sdxl-fp16 --max-shard-size 2GB
`

async function run(args: readonly string[], io: CommandIO, json: boolean): Promise<ShardResult> {
  const given = readArguments(args, 'shard', {
    target: 'folder or file',
    texts: ['out', 'max-shard-size', 'variant', 'save-variant', 'config', 'endpoint'],
    lists: ['dtype'],
  })
  const out = given.text('out')
  if (out === undefined)
    throw new InputError('arguments', 'shard needs --out <folder>. See "aquatint shard --help".', { command: 'shard' })
  const [variant = null, saveVariant = null] = [given.text('variant'), given.text('save-variant')]
  for (const name of [variant, saveVariant]) if (name !== null) checkVariantName(name)
  const result = await shardRepository(
    {
      source: given.target,
      remote: {
        endpoint: checkBaseUrl(given.text('endpoint') ?? 'https://huggingface.co/'),
        config: given.text('config'),
        token: process.env.HF_TOKEN,
      },
      out,
      maxShardSize: parseMemorySize(given.text('max-shard-size') ?? '5GB', '--max-shard-size'),
      dtypes: parseDTypes(given.list('dtype')),
      variant,
      saveVariant,
    },
    io,
  )
  if (!json) io.stdout(report(result))
  return result
}

function report(result: ShardResult): string {
  const rows = result.components.map(({ name, className, files, dtype, sourceBytes, bytes }) => [
    name === '' ? '(model)' : name,
    className,
    `${files.length} ${files.length === 1 ? 'file' : 'shards'}`,
    dtype ?? 'unchanged',
    dtype === null ? formatBytes(bytes) : `${formatBytes(bytes)}, was ${formatBytes(sourceBytes)}`,
  ])
  const notes = [
    ...result.components
      .filter((component) => !component.stateDictOrder && component.files.length > 1)
      .map(
        ({ name, className }) =>
          `${name}: Aquatint does not know in which order diffusers saves ${className}, so its shards follow the order of the source.`,
      ),
    ...result.components
      .filter((component) => component.renamed > 0)
      .map(
        ({ name, renamed }) =>
          `${name === '' ? '' : `${name}: `}${renamed} tensors were renamed to their current names in diffusers.`,
      ),
    ...result.components.flatMap(({ name, dropped }) =>
      dropped.map((tensor) => `${pathIn(name, tensor)}: left out, because transformers no longer saves it.`),
    ),
    ...result.warnings.map(({ component, message }) => `Warning: ${component} is copied unchanged: ${message}`),
    ...result.overflows.map(
      ({ component, tensor, count }) =>
        `Warning: ${count} values of ${component === '' ? '' : `${component}/`}${tensor} are too large for float16 and are infinite now.`,
    ),
    ...(result.leftOut.length === 0 ? [] : [`Left out (weights in other formats or variants): ${result.leftOut.join(', ')}`]),
  ]
  return `${table(rows)}\n${notes.map((note) => `${note}\n`).join('')}Written to ${result.out}\n`
}

export const shardCommand: Command = { summary: 'Rewrite a checkpoint in shards, optionally in another type', help, run }
