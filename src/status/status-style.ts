/** The look of the status page: no outside resources, light and dark, from phone to desk. */
export const STATUS_STYLE = `
:root {
  color-scheme: light dark;
  --paper: #fbfbfa; --sheet: #fff; --ink: #1d2327; --faint: #5c6770; --line: #e2e5e8;
  --peers: #1f7a4d; --store: #7d8a94; --upstream: #b3660a; --bad: #b3261e; --badsheet: #fdf1f0;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14181b; --sheet: #1c2226; --ink: #e6e9eb; --faint: #9aa6ae; --line: #2d353b;
    --peers: #4cc38a; --store: #7d8a94; --upstream: #e0a458; --bad: #ff8a80; --badsheet: #2c1d1c;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif;
}
main, footer { max-width: 64rem; margin: 0 auto; padding: 1.25rem 1rem; }
header { display: flex; flex-wrap: wrap; align-items: baseline; gap: .25rem .75rem; }
h1 { margin: 0; font-size: 1.5rem; overflow-wrap: anywhere; }
h2 { margin: 2rem 0 .5rem; font-size: 1.05rem; }
h2 small, .faint, footer { color: var(--faint); font-weight: normal; }
code, .mono { font: .87em/1.4 ui-monospace, 'SF Mono', Menlo, Consolas, monospace; overflow-wrap: anywhere; }
.badge { font-size: .8rem; padding: .05rem .5rem; border-radius: 1rem; border: 1px solid currentColor; }
.good { color: var(--peers); } .bad { color: var(--bad); } .warm { color: var(--upstream); }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .75rem; margin: 1rem 0 0; }
dl div { background: var(--sheet); border: 1px solid var(--line); border-radius: .5rem; padding: .5rem .75rem; }
dt { color: var(--faint); font-size: .8rem; }
dd { margin: 0; font-size: 1.05rem; overflow-wrap: anywhere; }
dd small { display: block; color: var(--faint); font-size: .8rem; }
ul { list-style: none; margin: 0; padding: 0; }
li, .empty, table { background: var(--sheet); border: 1px solid var(--line); border-radius: .5rem; }
li, .empty { padding: .6rem .75rem; margin: 0 0 .5rem; }
.empty { color: var(--faint); }
li.failure { background: var(--badsheet); border-color: var(--bad); }
li p { margin: .15rem 0 0; overflow-wrap: anywhere; }
.row { display: flex; flex-wrap: wrap; align-items: baseline; justify-content: space-between; gap: 0 1rem; }
svg { display: block; width: 100%; height: .5rem; margin: .35rem 0; border-radius: .25rem; background: var(--line); }
.fill-store { fill: var(--store); } .fill-peers { fill: var(--peers); } .fill-upstream { fill: var(--upstream); }
main .key { white-space: nowrap; } .key::before { content: '\\25a0\\a0'; } .key-store::before { color: var(--store); }
.key-peers::before { color: var(--peers); } .key-upstream::before { color: var(--upstream); }
table { width: 100%; border-spacing: 0; border-collapse: separate; }
th, td { text-align: left; padding: .45rem .75rem; vertical-align: top; overflow-wrap: anywhere; }
th { color: var(--faint); font-size: .8rem; font-weight: normal; }
td { border-top: 1px solid var(--line); }
.number { text-align: right; white-space: nowrap; }
footer { font-size: .85rem; } a { color: inherit; }
.lost { display: none; } .is-lost .lost { display: block; } .is-lost main { opacity: .5; }
.lost { margin: 0; padding: .5rem 1rem; background: var(--badsheet); color: var(--bad); text-align: center; }
@media (max-width: 40rem) {
  thead { display: none; }
  tr { display: grid; grid-template-columns: 1fr 1fr; gap: 0 1.5rem; padding: .4rem .75rem; } tr + tr { border-top: 1px solid var(--line); }
  td { display: flex; justify-content: space-between; gap: 1rem; padding: .1rem 0; border: 0; }
  td:first-child, .wide { grid-column: 1 / -1; } td:first-child { display: block; } td + td::before { content: attr(data-label); color: var(--faint); white-space: nowrap; }
  .number { white-space: normal; }
}
`

/** Brings the page up to date every two seconds, for as long as somebody looks at it and selects nothing. */
export const STATUS_SCRIPT = `
setInterval(async () => {
  if (document.hidden || !getSelection().isCollapsed) return
  try {
    const answer = await fetch(location.pathname, { cache: 'no-store' })
    if (!answer.ok) throw new Error(answer.statusText)
    const page = new DOMParser().parseFromString(await answer.text(), 'text/html')
    document.querySelector('main').replaceWith(page.querySelector('main'))
    document.body.classList.remove('is-lost')
  } catch {
    document.body.classList.add('is-lost')
  }
}, 2000)
`
