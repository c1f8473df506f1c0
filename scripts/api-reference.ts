/**
 * `npm run docs:api`: writes docs/api.md from the declarations that the package ships (TypeScript's own compiler reads them). With
 * `--check` it writes nothing and fails where the file is not what it would write. A public name, field or method without a doc
 * comment fails, and so does a public signature that names a type of the project which is not exported.
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

const page = 'docs/api.md'
const entries = [
  { file: 'index.d.ts', name: 'aquatint' },
  { file: 'ui/element.d.ts', name: 'aquatint/element' },
] as const

const intro = `# API reference

Made from the package's types by \`npm run docs:api\`; edit the comments in the source, not this page. Sizes are in pixels, memory and
files in bytes, unless a line says otherwise. A field with \`?\` may be left out.
`

/** Writes the page, or checks it. Returns the exit code. */
export function main(args: readonly string[]): number {
  const made = apiReference()
  if (!args.includes('--check')) {
    writeFileSync(page, made)
    return 0
  }
  if (readFileSync(page, 'utf8') === made) return 0
  console.error(`${page} is not what the types say: run "npm run docs:api".`)
  return 1
}

/** The page's text. @throws Error naming everything public that is not documented or not exported */
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

/** What a doc comment says: its words, and what is thrown. */
interface Doc {
  readonly text: string
  readonly throws?: string | undefined
}

class Writer {
  readonly #project: Project
  readonly #folder: string
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
    const sections = this.#entries.map(({ name, exports }) =>
      [`## \`${name}\`\n`, ...exports.map((exported) => this.#declaration(...exported))].join('\n'),
    )
    if (this.#wrong.length > 0) throw new Error(`The public types are not documented:\n  ${this.#wrong.join('\n  ')}`)
    return [intro, ...sections].join('\n')
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

  /** The type as it is declared, with a list of names that is not exported written out. */
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
      // For the browser to call.
      if (/^[a-z]\w*Callback\(/.test(text)) continue
      const label = `${owner}.${text.slice(0, 50)}`
      this.#checkNames(member, label)
      // Overloads share the first one's words.
      const doc = this.#doc(member, label)
      lines.push(`- \`${signature(member, text, members)}\`  \n  ${words(doc)}`)
    }
    return lines.length === 0 ? [] : [`${lines.join('\n')}\n`]
  }

  /** A type that is the project's own and not exported cannot be named by a caller. */
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
    return { text: [first, returns === undefined ? '' : `Gives ${returns}`].join(' ').trim(), throws }
  }
}

function isPublicKind(node: Node): boolean {
  return isClassDeclaration(node) || isInterfaceDeclaration(node) || isTypeAliasDeclaration(node)
}

function words({ text, throws }: Doc): string {
  return throws === undefined ? text : `${text} Throws ${throws}${throws.endsWith('.') ? '' : '.'}`
}

/** A node's text without comments, in one line. */
function oneLine(node: Node): string {
  return node
    .getText()
    .replaceAll(/\/\*\*.*?\*\//gs, '')
    .replaceAll(/\s+/g, ' ')
    .replaceAll(/;( \})/g, '$1')
    .trim()
}

/** How a member is written on the page: what every field has (`readonly`, `| undefined` beside `?`) left out. */
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
