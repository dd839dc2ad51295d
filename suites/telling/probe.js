// What a reader sees of each page in a frame, measured by the browser and written down as JSON.
const channel = c => { c /= 255; return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; };
const luminance = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
const parsed = colour => (colour.match(/[\d.]+/g) || []).map(Number);
const opaque = colour => colour.length === 3 || colour[3] > 0;
// What is behind an element: the nearest background that is none to see through.
const behind = (view, element) => {
  for (let at = element; at; at = at.parentElement) {
    const colour = parsed(view.getComputedStyle(at).backgroundColor);
    if (opaque(colour)) return colour.slice(0, 3);
  }
  return [255, 255, 255];
};
const least = (view, page) => {
  let worst = { ratio: 99 };
  for (const element of page.body.querySelectorAll('*')) {
    const own = [...element.childNodes].filter(node => node.nodeType === 3 && node.data.trim());
    if (!own.length || !element.getClientRects().length || element.closest('svg')) continue;
    const [text, ground] = [parsed(view.getComputedStyle(element).color), behind(view, element)].map(luminance);
    const ratio = (Math.max(text, ground) + 0.05) / (Math.min(text, ground) + 0.05);
    if (ratio < worst.ratio) worst = { ratio, what: element.outerHTML.slice(0, 120) };
  }
  return worst;
};
const trimmed = element => element ? element.innerText.replace(/\s+/g, ' ').trim() : null;
const seen = frame => {
  const view = frame.contentWindow, page = view.document, all = (selector, from = page) => [...from.querySelectorAll(selector)];
  for (const fold of all('.fold > input')) fold.checked = true;
  const charts = all('.chart').map(chart => {
    let title = chart.parentElement.previousElementSibling;
    return {
      drill: trimmed(title),
      metric: trimmed(chart.querySelector('.metric')),
      now: trimmed(chart.querySelector('strong')),
      points: all('circle title', chart).map(it => it.textContent),
      places: all('circle', chart).map(it => [it.cx.baseVal.value, it.cy.baseVal.value]),
    };
  });
  const matrix = page.querySelector('table.matrix');
  return {
    name: decodeURIComponent(view.location.pathname.split('/').pop()),
    width: frame.clientWidth,
    client: page.documentElement.clientWidth,
    scroll: page.documentElement.scrollWidth,
    dark: view.matchMedia('(prefers-color-scheme: dark)').matches,
    background: luminance(behind(view, page.body)),
    contrast: least(view, page),
    text: page.body.innerText,
    headline: trimmed(page.querySelector('header h1')),
    tables: all('section table:not(.matrix)').map(table => ({
      section: table.closest('section').id,
      rows: all('tbody tr', table).map(row => all('td', row).map(trimmed)),
    })),
    charts,
    matrix: matrix && {
      head: all('thead th', matrix).map(trimmed),
      rows: all('tbody tr', matrix).map(row => all('td', row).map(trimmed)),
      total: trimmed(matrix.querySelector('tfoot td')),
    },
    calendars: all('.calendar').map(it => ({
      title: trimmed(it.querySelector('h3')),
      days: all('.day', it).map(day => trimmed(day.querySelector('.label')) + ': ' +
        all('.cell', day).map(cell => cell.className.replace('cell ', '')).join(' ')),
    })),
  };
};
onload = () => {
  document.getElementById('found').textContent = JSON.stringify([...document.querySelectorAll('iframe')].map(seen));
};
