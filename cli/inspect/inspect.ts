/** `aquatint inspect`: the command's options and what it prints. inspect-repository.ts reads the checkpoint. */

import { checkVariantName } from '../../src/checkpoint/weight-files.js'
import { InputError } from '../../src/errors.js'
import { checkBaseUrl } from '../../src/hub/names.js'
import { families } from '../../src/pipelines/families.js'
import { checkOffload } from '../../src/pipelines/planning/residence.js'
import { formatBytes } from '../../src/util/format-bytes.js'
import { readArguments } from '../arguments.js'
import { findRepository } from './find-repository.js'
import { inspectRepository, type Inspection } from './inspect-repository.js'
import { deviceMapOption, dtypeOption, memoryOption } from './memory.js'
import { openEmbeddings, type InspectedEmbedding } from './embeddings.js'
import { openLoras, type InspectedLora } from './loras.js'
import { table, type CommandIO } from '../output.js'
import { showCount } from './counts.js'
import { planText, storageLines } from './plan-text.js'
import type { Command } from '../command.js'

const help = `Usage: aquatint inspect <folder, repository or URL> [options]

Shows what a checkpoint contains, and whether Aquatint can run it and if not, why. Only configs and the headers of weight
files are read: a few hundred kilobytes, however large the model.

  <folder>            a repository in diffusers' layout, or one component
  <owner/name>        a repository on the Hugging Face Hub
  <URL>               a repository on a web server that has a files.json, such as aquatint serve
  <file or its URL>   a checkpoint in one safetensors or GGUF file
  --config <folder>   the folder or repository with the configs of a checkpoint in one file. Default: the repository of its
                      family on the Hub
  --variant <name>    the variant to inspect, such as fp16
  --revision <name>   branch, tag or commit on the Hub. Default: main
  --endpoint <URL>    a mirror of the Hub
  --max-memory <size> show the memory plan within this much GPU memory, such as 6GB; or by device: --max-memory webgpu=2GB
  --device-map <map>  plan for 'balanced' over the devices, or for devices by component: --device-map text_encoder=wasm
  --offload <mode>    plan for resident, model or block. Default: auto, the fastest that fits
  --lora <address>    also say whether a LoRA fits, and plan with it: a file, its URL or a repository. Repeat it for several.
                      :0.8 at the end sets the weight
  --embedding <address>  also say whether an embedding (textual inversion) fits, and by which word prompts use it: a file,
                      its URL or a repository. Repeat it for several
  --dtype <type>      plan for float32, float16, q8 or q4; or by component: --dtype unet=q8
  --width, --height   plan for images of this size. Default: the model's own
  --json              print one JSON document

A token for gated repositories is read from the environment variable HF_TOKEN.
The exit code is 0 also for a checkpoint that Aquatint cannot run: see "runs" in the JSON document.

Examples
  aquatint inspect stabilityai/stable-diffusion-xl-base-1.0 --variant fp16
  aquatint inspect stabilityai/stable-diffusion-xl-base-1.0 --max-memory 4GB --dtype q8
  aquatint inspect ./sd3 --max-memory webgpu=6GB --max-memory wasm=4GB --device-map balanced
  aquatint inspect ./sdxl-half --json
  aquatint inspect http://127.0.0.1:8000/
`

async function run(args: readonly string[], io: CommandIO, json: boolean): Promise<Inspection> {
  const given = readArguments(args, 'inspect', {
    target: 'folder, repository or URL',
    texts: ['variant', 'revision', 'endpoint', 'config', 'offload', 'width', 'height'],
    lists: ['max-memory', 'device-map', 'dtype', 'lora', 'embedding'],
  })
  const variant = given.text('variant') ?? null
  if (variant !== null) checkVariantName(variant)
  const { target } = given
  const maxMemory = memoryOption(given.list('max-memory'))
  const [deviceMap, dtype] = [deviceMapOption(given.list('device-map')), dtypeOption(given.list('dtype'))]
  const offload = given.text('offload')
  checkOffload(offload)
  const number = (name: string) => (given.text(name) === undefined ? undefined : Number(given.text(name)))
  const size = { width: number('width'), height: number('height') }
  const planning = { deviceMap, offload, dtype, ...size }
  if (maxMemory === undefined && Object.values(planning).some((value) => value !== undefined))
    throw new InputError(
      'arguments',
      '--device-map, --offload, --dtype, --width and --height are for the memory plan: give --max-memory too.',
      { command: 'inspect' },
    )
  const request = maxMemory === undefined ? null : { maxMemory, ...planning }
  const { HF_TOKEN: token } = process.env
  const remote = { endpoint: checkBaseUrl(given.text('endpoint') ?? 'https://huggingface.co/'), token }
  const own = { ...remote, revision: given.text('revision'), config: given.text('config') }
  const embeddings = await openEmbeddings(given.list('embedding'), remote, io)
  const opened = await openLoras(given.list('lora'), remote, io)
  const found = await findRepository(target, own, io).catch(async (error: unknown) => {
    await opened.close()
    throw error
  })
  try {
    const inspection = await inspectRepository(found.repository, variant, request, io.signal, {
      loras: opened.loras,
      embeddings,
    })
    if (!json) io.stdout(report(inspection))
    return inspection
  } finally {
    await found.close()
    await opened.close()
  }
}

/** The text that the command prints for people. */
export function report(inspection: Inspection): string {
  const { repository, revision, pipeline, components, runs, variants, parameters, bytes } = inspection
  const rows = components.map((component) => {
    const { weights } = component
    if (weights === null) return [component.name, component.className, '', '', '', '']
    const types = Object.entries(weights.dtypes).map(([dtype, part]) =>
      Object.keys(weights.dtypes).length === 1 ? dtype : `${dtype} ${formatBytes(part.bytes)}`,
    )
    const files = `${weights.files.length} ${weights.files.length === 1 ? 'file' : 'shards'}`
    const elementTypes = weights.quantized === null ? types.join(' + ') : `q${weights.quantized.bits} (${types.join(' + ')})`
    return [
      component.name === '' ? '(model)' : component.name,
      component.className,
      files,
      elementTypes,
      showCount(weights.parameters),
      formatBytes(weights.bytes),
    ]
  })
  const lines = [
    `${repository}${/^[0-9a-f]{40}$/.test(revision) ? ` at ${revision}` : ''}`,
    ...(pipeline === null ? [] : [pipeline]),
    '',
    table([
      ['component', 'class', 'weights', 'types', 'parameters', 'bytes'],
      ...rows,
      ['total', '', '', '', showCount(parameters), formatBytes(bytes)],
    ]),
    '',
    ...(variants.length === 0 ? [] : [`Variants: ${variants.join(', ')}`]),
    runs.ok ? 'Aquatint can run it.' : 'Aquatint cannot run it:',
    ...runs.problems.map(({ component, message }) => `  ${component === '' ? '' : `${component}: `}${message}`),
    ...(runs.problems.some(({ code }) => code === 'variant-not-found') && variants.length > 0
      ? [`Look at a variant with --variant ${variants[0]}.`]
      : []),
    ...runs.warnings.map(({ component, message }) => `Note: ${component === '' ? '' : `${component}: `}${message}`),
    ...inspection.loras.map(loraLine),
    ...inspection.embeddings.map(embeddingLine),
    ...memoryLines(inspection),
  ]
  return `${lines.join('\n')}\n`
}

function loraLine(lora: InspectedLora): string {
  const name = `LoRA ${lora.file}${lora.weight === 1 ? '' : ` at ${lora.weight}`}`
  if (!lora.fits) return `${name} does not fit: ${lora.message}`
  const { components, layers, bytes, triggerWords, ignored } = lora
  const words = triggerWords.length === 0 ? '' : `; trigger words: ${triggerWords.join(', ')}`
  const left = ignored === 0 ? '' : `; ${ignored} layers that this checkpoint does not have are ignored`
  return `${name} fits ${components.join(' and ')}: ${layers} layers, ${formatBytes(bytes)}${words}${left}.`
}

function embeddingLine(embedding: InspectedEmbedding): string {
  const { source, token } = embedding
  if (!embedding.fits) return `Embedding ${source} does not fit: ${embedding.message}`
  const { components, vectors } = embedding
  const tokens = vectors === 1 ? '1 token' : `${vectors} tokens`
  return `Embedding ${source} fits ${components.join(' and ')}: prompts can use the word ${token}, which is ${tokens}.`
}

function memoryLines({ memory, components, pipeline }: Inspection): string[] {
  if (memory === null) return []
  const { shaderF16, maxBufferSize } = memory.assumedGpu
  const gpu = `a GPU ${shaderF16 ? 'with' : 'without'} shader-f16 and with buffers of up to ${formatBytes(maxBufferSize)}`
  const spec = families.find(({ className }) => className === pipeline)
  const guided = spec === undefined || spec.guidance === 'classifier-free' ? ' with guidance' : ''
  const title = `Memory for an image of ${memory.width} × ${memory.height}${guided}, on ${gpu} (assumed):`
  if ('devices' in memory) {
    const roles = new Map(components.flatMap(({ name, role }) => (role === null ? [] : [[name, role]])))
    const roleOf = (name: string) => {
      const role = roles.get(name)
      if (role === undefined) throw new TypeError(`The plan has ${name}, which is no network of the checkpoint.`)
      return role
    }
    return ['', title, ...planText(memory, roleOf), ...storageLines(memory.storage)]
  }
  const rows = memory.needs.map((part) => [part.name, formatBytes(part.weightBytes), formatBytes(part.activationBytes)])
  return ['', title, memory.message, table([['component', 'weights', 'activations'], ...rows]), ...storageLines(memory.storage)]
}

export const inspectCommand: Command = { summary: 'Show what a checkpoint contains and whether Aquatint can run it', help, run }
