/** The LoRAs of a loaded pipeline: which are loaded, which are active and how strongly. Named as in diffusers. */

import { InputError } from '../../errors.js'
import type { AdaptableLayers } from '../../checkpoint/lora/match-lora.js'
import type { LoraComponent } from '../../checkpoint/lora/lora-keys.js'
import { quantizedWeights } from '../../models/match-weights.js'
import type { AdapterForm } from '../../onnx/types.js'
import { adaptableLayers, type Network } from '../bind-network.js'
import type { AdapterSource } from '../loading/adapters/open-adapter-file.js'
import { openEmbedding } from '../loading/adapters/open-embedding.js'
import { openLora, type OpenedLora } from '../loading/adapters/open-lora.js'
import type { OpenedPipeline } from '../loading/open-pipeline.js'
import type { ActiveAdapter } from '../network-adapters.js'
import type { LoadedParts } from '../loading/read-parts.js'
import { Embeddings } from './embeddings.js'
import { loraNetworks } from '../lora-networks.js'
import { Run, type CallHooks } from '../run.js'
import type { AdapterCommand, LoraInfo } from '../adapter-types.js'

interface LoadedAdapter {
  readonly id: number
  readonly opened: OpenedLora
  weight: number
}

/** The weight of a LoRA, 1 unless given. @throws InputError `adapter-weights` */
function checkedWeight(scale = 1): number {
  if (Number.isFinite(scale)) return scale
  throw new InputError('adapter-weights', `scale is ${String(scale)}; allowed is a number.`, { scale: String(scale) })
}

/** A rank to show. For a Kronecker product, it is the larger rank of its two matrices. */
function rankOf(form: AdapterForm): number {
  if (form.kind !== 'kronecker') return form.rank
  return Math.max(...[form.left, form.right].map(({ rows, columns, rank }) => rank ?? Math.min(rows, columns)))
}

/** The LoRAs and embeddings of a pipeline. */
export class LoraAdapters {
  /** The networks that LoRAs can change. */
  readonly #networks: ReadonlyMap<LoraComponent, Network>
  readonly #loaded = new Map<string, LoadedAdapter>()
  /** For each component, the names of its active adapters in their order. */
  readonly #active = new Map<LoraComponent, readonly string[]>()
  readonly #embeddings: Embeddings
  #nextId = 0
  #layers: ReadonlyMap<LoraComponent, AdaptableLayers> | undefined

  constructor({ networks, words }: Pick<LoadedParts, 'networks' | 'words'>) {
    this.#embeddings = new Embeddings(networks, words)
    this.#networks = loraNetworks(networks)
  }

  /** Carries a command out. @throws as {@link openLora} for `load`; InputError `adapter-name`, `adapter-weights` */
  async run(
    command: AdapterCommand<AdapterSource>,
    { hub, options }: OpenedPipeline['opening'],
    hooks: CallHooks,
  ): Promise<readonly LoraInfo[]> {
    if (command.type === 'set') this.#set(command.names, command.weights)
    else if (command.type === 'delete') this.#delete(command.names)
    else if (command.type === 'delete-embeddings') this.#embeddings.clear()
    else if (command.type === 'load-embedding') {
      const run = new Run(hooks)
      run.status('downloading', ['embedding'])
      const opened = await openEmbedding(command.source, { hub, options: { ...options, ...command.options }, run })
      this.#embeddings.add(opened)
      const { token, vectors } = opened
      const most = Math.max(...[...vectors.values()].map((rows) => rows.length))
      if (most > 1 && token !== token.toLowerCase())
        run.warn(
          'embedding-capitals',
          `The word ${token} has ${most} vectors and capital letters: as in diffusers, prompts without promptWeighting get its first vector alone. Pass { token: ${JSON.stringify(token.toLowerCase())} } and write the word like this to use all.`,
        )
      run.status('ready')
    } else {
      const { source, options: own = {} } = command
      const name = this.#nameFor(own.adapterName)
      const weight = checkedWeight(own.scale)
      const run = new Run(hooks)
      run.status('downloading', ['lora'])
      const opened = await openLora(source, {
        hub,
        options: { ...options, ...own },
        layers: this.#adaptable(),
        isQuantized: (component, layer) => this.#isQuantized(component, layer),
        run,
      })
      this.#add(name, opened, weight)
      run.status('ready')
    }
    return this.#infos()
  }

  /** Ends the use of all files. */
  dispose(): void {
    this.#delete()
  }

  /** The layers that can have branches. */
  #adaptable(): ReadonlyMap<LoraComponent, AdaptableLayers> {
    this.#layers ??= new Map([...this.#networks].map(([component, { model }]) => [component, adaptableLayers(model)]))
    return this.#layers
  }

  #isQuantized(component: LoraComponent, layer: string): boolean {
    const network = this.#networks.get(component)
    return network !== undefined && quantizedWeights(network.model, network.table)(`${layer}.weight`) !== undefined
  }

  /** The loaded LoRAs, in the order in which they were loaded. */
  #infos(): readonly LoraInfo[] {
    return [...this.#loaded].map(([adapterName, { opened, weight }]) => {
      const { file, factors, triggerWords, bytes } = opened
      const active = [...factors.keys()].some((component) => this.#active.get(component)?.includes(adapterName) === true)
      const ranks = [...factors.values()].flatMap((layers) => [...layers.values()].map(({ form }) => rankOf(form)))
      const components = [...factors.keys()].map((component) => this.#networks.get(component)?.name ?? component)
      return {
        adapterName,
        file,
        components,
        layers: ranks.length,
        rank: Math.max(...ranks),
        triggerWords,
        bytes,
        weight,
        active,
      }
    })
  }

  /** The name of the next adapter: the given one, or `default_0`, `default_1`, …. @throws InputError `adapter-name` for a name in use */
  #nameFor(given: string | undefined): string {
    if (given === undefined) {
      let index = this.#loaded.size
      while (this.#loaded.has(`default_${index}`)) index++
      return `default_${index}`
    }
    if (typeof given !== 'string' || given === '' || this.#loaded.has(given)) {
      const message = `adapterName is ${JSON.stringify(given)}; allowed is a text that no loaded LoRA has.`
      throw new InputError('adapter-name', message, { adapterName: given, loaded: [...this.#loaded.keys()] })
    }
    return given
  }

  /** Adds a LoRA. As in diffusers, it becomes the only active one in each component that it changes. */
  #add(name: string, opened: OpenedLora, weight: number): void {
    this.#loaded.set(name, { id: this.#nextId++, opened, weight })
    for (const component of opened.factors.keys()) this.#active.set(component, [name])
    this.#apply()
  }

  /**
   * Makes these LoRAs the active ones, with these weights; 1 for each without. Only a change of which are active writes graphs again.
   * @throws InputError `adapter-name` for a name that is not loaded, `adapter-weights`
   */
  #set(names: readonly string[], weights: number | readonly number[] = 1): void {
    for (const name of names) this.#get(name)
    if (new Set(names).size < names.length)
      throw new InputError('adapter-name', `adapterNames has a name twice: ${names.join(', ')}.`, { names })
    const all = typeof weights === 'number' ? names.map(() => weights) : weights
    if (all.length !== names.length || !all.every((weight) => Number.isFinite(weight))) {
      const message = `adapterWeights is ${JSON.stringify(weights)}; allowed are one number, or a list of ${names.length} numbers.`
      throw new InputError('adapter-weights', message, { weights: all, names })
    }
    for (const [index, name] of names.entries()) this.#get(name).weight = all[index] ?? 1
    for (const component of this.#networks.keys())
      this.#active.set(
        component,
        names.filter((name) => this.#get(name).opened.factors.has(component)),
      )
    this.#apply()
  }

  /** Removes LoRAs, by default all. @throws InputError `adapter-name` for a name that is not loaded */
  #delete(names: readonly string[] = [...this.#loaded.keys()]): void {
    for (const name of names) this.#get(name)
    for (const [component, active] of this.#active)
      this.#active.set(
        component,
        active.filter((name) => !names.includes(name)),
      )
    this.#apply()
    for (const name of names) {
      this.#loaded.get(name)?.opened.close()
      this.#loaded.delete(name)
    }
  }

  #get(name: string): LoadedAdapter {
    const found = this.#loaded.get(name)
    if (found !== undefined) return found
    const loaded = [...this.#loaded.keys()]
    const message = `There is no LoRA ${JSON.stringify(name)}; loaded: ${loaded.join(', ') || 'none'}.`
    throw new InputError('adapter-name', message, { adapterName: name, loaded })
  }

  #apply(): void {
    for (const [component, network] of this.#networks) {
      const active = (this.#active.get(component) ?? []).map((name): ActiveAdapter => {
        const { id, opened, weight } = this.#get(name)
        return { adapter: { id, layers: opened.factors.get(component) ?? new Map() }, weight }
      })
      network.adapters?.activate(active)
    }
  }
}
