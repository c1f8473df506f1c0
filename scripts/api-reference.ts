/**
 * `npm run docs:api`: writes docs/api.md from the declarations that the package ships, which TypeScript's own compiler reads. The page is
 * grouped by use (api-groups.ts). With `--check` it writes nothing, and fails if the file differs from what it would write. It also fails if
 * a public name, field or method has no doc comment, if an option does not say its default, or if a public signature uses a type of the project that is not exported.
 */

import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  isClassDeclaration,
  isGetAccessorDeclaration,
  isIdentifier,
  isInterfaceDeclaration,
  isPropertyDeclaration,
  isPropertySignatureDeclaration,
  isSetAccessorDeclaration,
  isTypeAliasDeclaration,
  isTypeReferenceNode,
  type Node,
  type TypeAliasDeclaration,
} from 'typescript/unstable/ast'
import { API, SymbolFlags, type Project, type Symbol } from 'typescript/unstable/sync'
import { groups } from './api-groups.js'

const page = 'docs/api.md'
/** The package's entries, each with its declarations. */
const entries = [
  { file: 'index.d.ts', name: 'aquatint' },
  { file: 'ui/element.d.ts', name: 'aquatint/element' },
] as const

/** Types whose optional fields are options with a default. */
const withDefaults = new Set(['LoadPipelineOptions', 'GenerateOptions', 'PlannedSize'])

const intro = `# API reference

\`npm run docs:api\` generates this page from the package's types; edit the comments in the source, not this page. Image sizes are in pixels, and
sizes of memory and files in bytes, unless a line says otherwise. A field with \`?\` is optional.
`

/** Writes the page, or checks it. Returns the exit code. */
export function main(args: readonly string[]): number {
  const made = apiReference()
  if (!args.includes('--check')) {
    writeFileSync(page, made)
    return 0
  }
  if (readFileSync(page, 'utf8') === made) return 0
  console.error(`${page} does not match the types: run "npm run docs:api".`)
  return 1
}

/** Returns the page's text. @throws Error that lists all public names without a doc comment, an export or a group */
function apiReference(): string {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), 'aquatint-api-')))
  try {
    const tsc = ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.types.json', '--outDir', folder]
    execFileSync(process.execPath, tsc, { stdio: 'inherit' })
    const { compilerOptions } = JSON.parse(readFileSync('tsconfig.types.json', 'utf8')) as { compilerOptions: { lib: string[] } }
    const options = {
      lib: compilerOptions.lib,
      target: 'es2023',
      module: 'nodenext',
      strict: true,
      skipLibCheck: true,
      types: [],
    }
    writeFileSync(
      join(folder, 'tsconfig.json'),
      JSON.stringify({ compilerOptions: options, files: entries.map(({ file }) => file) }),
    )
    const api = new API({ cwd: folder })
    try {
      const [project] = api.updateSnapshot({ openProjects: [join(folder, 'tsconfig.json')] }).getProjects()
      if (project === undefined) throw new Error('TypeScript opened no project')
      return new Writer(project, folder).write()
    } finally {
      api.close()
    }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** The parts of a doc comment: its text, and what the function throws. */
interface Doc {
  readonly text: string
  readonly throws?: string | undefined
}

class Writer {
  readonly #project: Project
  readonly #folder: string
  /** Problems found so far. */
  readonly #wrong: string[] = []
  /** The declarations of every public name, by entry. */
  readonly #entries: readonly { readonly name: string; readonly exports: readonly (readonly [string, Node])[] }[]
  readonly #public: ReadonlySet<string>

  constructor(project: Project, folder: string) {
    this.#project = project
    this.#folder = folder
    this.#entries = entries.map(({ file, name }) => ({ name, exports: this.#exportsOf(join(folder, file)) }))
    this.#public = new Set(this.#entries.flatMap(({ exports }) => exports.map(([name]) => name)))
  }

  write(): string {
    const nodes = new Map(this.#entries.flatMap(({ exports }) => exports))
    const sections = groups.map((group) =>
      [`## ${group.title}\n\n${group.intro}\n`, ...group.names.map((name) => this.#named(name, nodes))].join('\n'),
    )
    const grouped = groups.flatMap(({ names }) => names)
    for (const name of this.#public) {
      const count = grouped.filter((other) => other === name).length
      if (count !== 1) this.#wrong.push(`${name} is in ${count} groups of scripts/api-groups.ts; it must be in one`)
    }
    if (this.#wrong.length > 0) throw new Error(`The API reference cannot be written:\n  ${this.#wrong.join('\n  ')}`)
    return [intro, contents(), ...sections].join('\n')
  }

  #exportsOf(file: string): readonly (readonly [string, Node])[] {
    const { program, checker } = this.#project
    const source = program.getSourceFile(file)
    const module = source === undefined ? undefined : checker.getSymbolAtLocation(source)
    if (module === undefined) throw new Error(`${file} exports nothing`)
    return checker.getExportsOfModule(module).map((symbol) => {
      const node = this.#declarationOf(symbol)
      if (node === undefined) throw new Error(`${symbol.name} has no declaration`)
      return [symbol.name, node] as const
    })
  }

  #declarationOf(symbol: Symbol): Node | undefined {
    const alias = (symbol.flags & SymbolFlags.Alias) !== 0
    const [handle] = (alias ? this.#project.checker.getAliasedSymbol(symbol) : symbol).declarations
    return handle?.resolve(this.#project)
  }

  #named(name: string, nodes: ReadonlyMap<string, Node>): string {
    const node = nodes.get(name)
    if (node !== undefined) return this.#declaration(name, node)
    this.#wrong.push(`scripts/api-groups.ts lists ${name}, which is not exported`)
    return ''
  }

  #declaration(name: string, node: Node): string {
    const doc = this.#doc(node, name)
    const lines = [`### ${name}\n`]
    if (isClassDeclaration(node) || isInterfaceDeclaration(node)) {
      const extended = (node.heritageClauses ?? []).map((clause) => oneLine(clause))
      const kind = isClassDeclaration(node) ? 'Class' : 'Interface'
      lines.push(`${[kind, ...extended.map((clause) => `\`${clause}\``)].join(' ')}. ${words(doc)}\n`)
      for (const clause of node.heritageClauses ?? []) this.#checkNames(clause, name)
      lines.push(...this.#members(node.members, name))
    } else if (isTypeAliasDeclaration(node)) {
      this.#checkNames(node.type, name)
      const text = this.#typeText(node)
      lines.push(`Type. ${words(doc)}\n`, `\`\`\`text\n${text}\n\`\`\`\n`)
    } else {
      this.#checkNames(node, name)
      lines.push(`Function. \`${oneLine(node).replace(/^export declare function |;$/g, '')}\`. ${words(doc)}\n`)
    }
    return lines.join('\n')
  }

  /** The type as it is declared. A union that comes from a list which is not exported is written out. */
  #typeText(node: TypeAliasDeclaration): string {
    const { checker } = this.#project
    const keys = () => {
      const symbol = checker.getSymbolAtLocation(node.name)
      const properties = symbol === undefined ? [] : checker.getPropertiesOfType(checker.getDeclaredTypeOfSymbol(symbol))
      return properties.map(({ name }) => `'${name}'`).join(' | ')
    }
    return node.type
      .getText()
      .replaceAll(/;$/gm, '')
      .replaceAll(/^( {4})+/gm, (indent) => ' '.repeat(indent.length / 2))
      .replace(/\(typeof \w+\)\[number\]/, keys)
  }

  #members(members: readonly Node[], owner: string): string[] {
    const lines: string[] = []
    for (const member of members) {
      const text = oneLine(member).replace(/;$/, '')
      if (text.startsWith('#') || /^(private|protected) /.test(text) || isSetAccessorDeclaration(member)) continue
      // The page does not list the element's callbacks, because the browser calls them, not the user.
      if (/^[a-z]\w*Callback\(/.test(text)) continue
      const label = `${owner}.${text.slice(0, 50)}`
      this.#checkNames(member, label)
      // Overloads share the comment of the first one.
      const doc = this.#doc(member, label)
      const shown = signature(member, text, members)
      if (withDefaults.has(owner) && /^\w+\?:/.test(shown) && !/default/i.test(doc.text))
        this.#wrong.push(`${label} does not say its default`)
      lines.push(`- \`${shown}\`  \n  ${words(doc)}`)
    }
    return lines.length === 0 ? [] : [`${lines.join('\n')}\n`]
  }

  /** Reports the project's own types in a signature that are not exported: a caller could not name them. */
  #checkNames(node: Node, label: string): void {
    const { checker } = this.#project
    const visit = (part: Node): void => {
      if (isTypeReferenceNode(part) && isIdentifier(part.typeName)) {
        const symbol = checker.getSymbolAtLocation(part.typeName)
        const declared = symbol === undefined ? undefined : this.#declarationOf(symbol)
        const own = declared?.getSourceFile().fileName.startsWith(this.#folder) === true
        const parameter = declared !== undefined && !isPublicKind(declared)
        if (own && !parameter && !this.#public.has(part.typeName.text)) {
          this.#wrong.push(`${label} names ${part.typeName.text}, which is not exported`)
        }
      }
      part.forEachChild(visit)
    }
    visit(node)
  }

  #doc(node: Node, label: string): Doc {
    const text = node.getSourceFile().text.slice(node.pos, node.getStart())
    const comment = [...text.matchAll(/\/\*\*(.*?)\*\//gs)].at(-1)?.[1]
    if (comment === undefined) {
      this.#wrong.push(`${label} has no doc comment`)
      return { text: '' }
    }
    const plain = comment
      .replaceAll(/^\s*\*? ?/gm, ' ')
      .replaceAll(/\s+/g, ' ')
      .replaceAll(/\{@link ([\w.]+)\}/g, '`$1`')
      .trim()
    const [first = '', ...tags] = plain.split(/(?= @\w+)/).map((part) => part.trim())
    const throws = tags
      .find((tag) => tag.startsWith('@throws'))
      ?.slice('@throws'.length)
      .trim()
    const returns = tags
      .find((tag) => tag.startsWith('@returns'))
      ?.slice('@returns'.length)
      .trim()
    return { text: [first, returns === undefined ? '' : `Returns ${returns}`].join(' ').trim(), throws }
  }
}

/** A link to the heading with this text. */
function link(text: string): string {
  return `[${text}](#${text.toLowerCase().replaceAll(' ', '-')})`
}

/** The table of contents: one row per group. */
function contents(): string {
  const rows = groups.map(({ title, names }) => `| **${link(title)}** | ${names.map((name) => link(name)).join(', ')} |`)
  return ['| | |', '| --- | --- |', ...rows, ''].join('\n')
}

function isPublicKind(node: Node): boolean {
  return isClassDeclaration(node) || isInterfaceDeclaration(node) || isTypeAliasDeclaration(node)
}

function words({ text, throws }: Doc): string {
  return throws === undefined ? text : `${text} Throws ${throws}${throws.endsWith('.') ? '' : '.'}`
}

/** Returns a node's text in one line, without comments. */
function oneLine(node: Node): string {
  return node
    .getText()
    .replaceAll(/\/\*\*.*?\*\//gs, '')
    .replaceAll(/\s+/g, ' ')
    .replaceAll(/;( \})/g, '$1')
    .trim()
}

/** Returns a member as the page shows it: without `readonly`, and without `| undefined` beside `?`. */
function signature(member: Node, text: string, members: readonly Node[]): string {
  if (isPropertySignatureDeclaration(member) || isPropertyDeclaration(member)) {
    const short = text.replace(/^(static )?readonly /, '$1')
    return /^[\w.]+\?:/.test(short) ? short.replace(/ \| undefined$/, '') : short
  }
  if (isGetAccessorDeclaration(member)) {
    const name = member.name.getText()
    const settable = members.some((other) => isSetAccessorDeclaration(other) && other.name.getText() === name)
    const plain = text.replace(/^get (\w+)\(\): /, '$1: ')
    return settable ? plain : `readonly ${plain}`
  }
  return text
}
