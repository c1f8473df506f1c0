/** Switches the theme between system, light and dark with one button, and remembers it for the next visit. */

const themes = ['system', 'light', 'dark'] as const
type Theme = (typeof themes)[number]

const words: Readonly<Record<Theme, string>> = { system: 'system', light: 'light', dark: 'dark' }

/** Connects the button. `onChange` is called after every change, so that canvases can be redrawn in the new colours. */
export function startTheme(button: HTMLElement, onChange: () => void): void {
  let theme = themes.find((name) => name === remembered()) ?? 'system'
  const apply = () => {
    if (theme === 'system') delete document.documentElement.dataset['theme']
    else document.documentElement.dataset['theme'] = theme
    button.setAttribute('aria-label', `Theme: ${words[theme]}`)
    button.title = `Theme: ${words[theme]}`
    onChange()
  }
  button.addEventListener('click', () => {
    theme = themes[(themes.indexOf(theme) + 1) % themes.length] ?? 'system'
    remember(theme)
    apply()
  })
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', onChange)
  apply()
}

function remembered(): string | null {
  try {
    return localStorage.getItem('aquatint-theme')
  } catch {
    return null
  }
}

function remember(theme: Theme): void {
  try {
    localStorage.setItem('aquatint-theme', theme)
  } catch {
    // Storage is blocked: the choice lasts for this visit.
  }
}
