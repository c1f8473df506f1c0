/**
 * Builds a component from named stages. With granularity `component`, all stages' bodies go into one program. With `block`, each stage
 * becomes a program of its own, and stages whose programs have equal bytes share one. The same model code serves both.
 */

import { GraphBuilder } from './graph-builder.js'
import type { ComponentGraph, ElementType, Program, Stage, ValueInfo, WriteOptions } from './types.js'

/** The values of a stage, by the names that its body uses. */
export type Values<Name extends string> = Readonly<Record<Name, ValueInfo>>

/** A component while it is being built. */
export class ComponentBuilder {
  readonly options: WriteOptions
  readonly #name: string
  /** The single program of the component; undefined with granularity `block`. */
  readonly #whole: GraphBuilder | undefined
  readonly #inputs: ValueInfo[] = []
  /** Inputs that bodies of stages declared for the whole component, by name. */
  readonly #fromBodies = new Map<string, ValueInfo>()
  readonly #outputs: ValueInfo[] = []
  readonly #stages: Stage[] = []
  readonly #programs = new Map<string, Program>()
  /** With `block`: the public names of the component values that have one. */
  readonly #published = new Map<string, string>()

  constructor(name: string, options: WriteOptions) {
    this.#name = name
    this.options = options
    this.#whole = options.granularity === 'component' ? new GraphBuilder(options) : undefined
  }

  /** Declares an input of the component. */
  input(name: string, type: ElementType, dims: readonly number[]): ValueInfo {
    const value = this.#whole?.input(name, type, dims) ?? { name, type, dims }
    this.#inputs.push(value)
    return value
  }

  /**
   * Adds a stage. `body` receives a graph and `inputs` as that graph names them, and returns the stage's outputs. Weight names in the body are
   * relative to `prefix` (by default the stage's name), so that stages that differ only in their names share a program.
   */
  stage<In extends string, Out extends string>(
    name: string,
    inputs: Values<In>,
    body: (graph: GraphBuilder, inputs: Values<In>) => Values<Out>,
    prefix: string = name,
  ): Values<Out> {
    const whole = this.#whole
    if (whole !== undefined) return whole.scoped(prefix, () => body(whole, inputs))
    const graph = new GraphBuilder(this.options, prefix)
    const local = mapValues(inputs, (value, key) => graph.input(key, value.type, value.dims))
    const results = body(graph, local)
    for (const key of keysOf(results)) graph.output(`${key}_out`, results[key])
    const shared = graph.componentInputs
    for (const input of shared) this.#fromBodies.set(input.name, input)
    const program = this.#share(graph.finish('stage'))
    const outputs = mapValues(results, (value, key) => ({ name: `${name}/${key}`, type: value.type, dims: value.dims }))
    this.#stages.push({
      name,
      program,
      inputs: { ...mapValues(inputs, (value) => value.name), ...ownNames(shared) },
      weights: Object.fromEntries(
        program.weights.map((weight) => [weight.name, prefix === '' ? weight.name : `${prefix}.${weight.name}`]),
      ),
      outputs: Object.fromEntries(keysOf(outputs).map((key) => [`${key}_out`, outputs[key].name])),
    })
    return outputs
  }

  /** Declares `value` as an output of the component under `name`. */
  output(name: string, value: ValueInfo): void {
    this.#whole?.output(name, value)
    if (this.#whole === undefined) {
      if (this.#published.has(value.name)) throw new Error(`${value.name} is declared as an output twice`)
      this.#published.set(value.name, name)
    }
    this.#outputs.push({ name, type: value.type, dims: value.dims })
  }

  /** Returns the finished component. */
  finish(): ComponentGraph {
    const inputs = [...this.#inputs, ...(this.#whole?.componentInputs ?? this.#fromBodies.values())]
    const outputs = this.#outputs
    if (this.#whole === undefined) return { stages: this.#publishedStages(), inputs, outputs }
    const program = this.#whole.finish(this.#name)
    const stage = {
      name: this.#name,
      program,
      inputs: ownNames(inputs),
      weights: ownNames(program.weights),
      outputs: ownNames(outputs),
    }
    return { stages: [stage], inputs, outputs }
  }

  #share(program: Program): Program {
    const known = this.#programs.get(program.key)
    if (known !== undefined) return known
    this.#programs.set(program.key, program)
    return program
  }

  /** Returns the stages, with the component's outputs renamed to their public names. */
  #publishedStages(): Stage[] {
    const rename = (names: Readonly<Record<string, string>>) => mapValues(names, (name) => this.#published.get(name) ?? name)
    return this.#stages.map((stage) => Object.assign({}, stage, { inputs: rename(stage.inputs), outputs: rename(stage.outputs) }))
  }
}

function ownNames(values: readonly ValueInfo[]): Record<string, string> {
  return Object.fromEntries(values.map(({ name }) => [name, name]))
}

function keysOf<Key extends string>(record: Readonly<Record<Key, unknown>>): Key[] {
  return Object.keys(record) as Key[]
}

function mapValues<Key extends string, From, To>(
  record: Readonly<Record<Key, From>>,
  change: (value: From, key: Key) => To,
): Record<Key, To> {
  return Object.fromEntries(keysOf(record).map((key) => [key, change(record[key], key)])) as Record<Key, To>
}
