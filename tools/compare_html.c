// SPDX-License-Identifier: MIT
/* A comparison as one page: nothing is loaded from elsewhere, light and dark as the reader's system is. */
#include "compare_show.h"
#include <math.h>
#include <string.h>

static const char style[] =
	":root{color-scheme:light dark;--bg:#fbfbfa;--card:#fff;--text:#1d1f21;--dim:#6a6f76;--line:#e3e3e0;--blue:#b9cfe8;--blue2:#5b87b8;"
	"--orange:#d2691e;--bad:#c0392b;--warn:#b7791f;--good:#3b8f5a;--note:#fff6e5}"
	"@media(prefers-color-scheme:dark){:root{--bg:#16181b;--card:#1e2125;--text:#e4e6e8;--dim:#9aa1a9;--line:#33373d;--blue:#33506f;--blue2:#7fa8d6;"
	"--orange:#f0934a;--bad:#ef6b5e;--warn:#e0aa4e;--good:#66b987;--note:#33290f}}"
	"*{box-sizing:border-box}body{margin:0;background:var(--bg);color:var(--text);font:15px/1.45 system-ui,-apple-system,\"Segoe UI\",\"DejaVu Sans\",sans-serif}"
	"main{max-width:1500px;margin:0 auto;padding:28px 32px 60px}h1{font-size:24px;margin:0}h2{font-size:17px;margin:34px 0 10px}"
	".sub{color:var(--dim);margin:2px 0 18px}.outs{display:flex;flex-wrap:wrap;gap:12px}.out{background:var(--card);border:1px solid var(--line);"
	"border-radius:8px;padding:10px 16px}.out b{display:block;font-size:20px;font-variant-numeric:tabular-nums}.out span{color:var(--dim);font-size:13px}"
	".notes{list-style:none;margin:18px 0 0;padding:0}.notes li{background:var(--note);border-left:3px solid var(--warn);padding:6px 12px;margin:4px 0;overflow-wrap:anywhere}"
	".profile{display:grid;grid-template-columns:46px 1fr;gap:6px;height:190px}.profile svg{width:100%;height:190px;background:var(--card);border:1px solid var(--line)}"
	".scale{display:flex;flex-direction:column;justify-content:space-between;text-align:right;color:var(--dim);font-size:12px}"
	".grid{stroke:var(--dim);stroke-opacity:.35;stroke-dasharray:2 4;vector-effect:non-scaling-stroke}.pa{fill:var(--blue)}a:hover .pa{fill:var(--blue2)}.pw{fill:none;stroke:var(--orange);stroke-width:1.6;vector-effect:non-scaling-stroke}"
	".key{color:var(--dim);font-size:13px;margin:6px 0 0 52px}.key i{display:inline-block;width:14px;height:9px;margin:0 5px 0 14px}.key i:first-child{margin-left:0}"
	".wrap{overflow-x:auto;background:var(--card);border:1px solid var(--line);border-radius:8px}table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}"
	"th{position:sticky;top:0;background:var(--card);text-align:left;font-size:12px;font-weight:600;color:var(--dim);padding:8px 10px;border-bottom:1px solid var(--line);white-space:nowrap;cursor:pointer}"
	"td{padding:4px 10px;border-bottom:1px solid var(--line);vertical-align:top}tr:last-child td{border-bottom:0}tbody tr:hover{background:var(--bg)}"
	".n{text-align:right;white-space:nowrap}td:nth-child(2){min-width:230px}td a{color:inherit;text-decoration:none;overflow-wrap:anywhere}td a:hover{text-decoration:underline}"
	".op{color:var(--dim);font-size:12.5px;overflow-wrap:anywhere}.bar{height:4px;border-radius:2px;margin-top:2px;background:var(--good)}.bar.w{background:var(--warn)}.bar.b{background:var(--bad)}.hot{color:var(--bad);font-weight:600}"
	".cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(400px,1fr));gap:14px}.card{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:12px 14px;scroll-margin-top:12px}"
	".card:target{outline:2px solid var(--orange)}.card h3{font-size:14px;margin:0;overflow-wrap:anywhere}.card p{margin:2px 0 8px;color:var(--dim);font-size:12.5px;overflow-wrap:anywhere}"
	".hist{display:block;width:100%;height:110px}.before{fill:var(--blue)}.after{fill:none;stroke:var(--orange);stroke-width:1.2;vector-effect:non-scaling-stroke}"
	".zero{stroke:var(--dim);stroke-width:.7;stroke-opacity:.6;vector-effect:non-scaling-stroke}.limit{stroke:var(--bad);stroke-width:1.2;stroke-dasharray:4 3;vector-effect:non-scaling-stroke}"
	".axis{display:flex;justify-content:space-between;color:var(--dim);font-size:11.5px}.channels{display:block;width:100%;height:54px;margin-top:8px;border-bottom:1px solid var(--line)}"
	".cw,.cv{fill:none;stroke-width:1.5;vector-effect:non-scaling-stroke}.cw{stroke:var(--good)}.cv{stroke:var(--blue2)}.card p.ranges{margin:4px 0 0}.tw{color:var(--good);margin-right:14px}.tv{color:var(--blue2)}"
	"@media print{.card{break-inside:avoid}th{position:static}}";

/* Sorting by a click on a column's head; the page is complete without it. */
static const char script[] =
	"document.querySelectorAll('th').forEach(function(h,i){h.onclick=function(){var b=document.querySelector('tbody'),d=h.dataset.d=h.dataset.d=='1'?'-1':'1';"
	"Array.from(b.rows).sort(function(x,y){var p=x.cells[i].dataset.v,q=y.cells[i].dataset.v;return d*(isNaN(p)||isNaN(q)?p.localeCompare(q):p-q)})"
	".forEach(function(r){b.appendChild(r)})}})";

static const char *grade(double snr)
{
	return snr < 15 ? " b" : snr < 25 ? " w" : "";
}

/* ---- the table ---- */

static void snr_cell(FILE *f, double snr)
{
	char text[16];

	fprintf(f, "<td class=n data-v=%.4g>%s<div class=\"bar%s\" style=\"width:%.0f%%\"></div>", snr == INFINITY ? 1e9 : snr, compare_snr_text(snr, text),
		grade(snr), 100 * fmin(fmax(snr, 1), 60) / 60);
}

static void rate_cell(FILE *f, double part, double hot)
{
	fprintf(f, "<td class=\"n%s\" data-v=%.6g>", part >= hot ? " hot" : "", part);
	if (part > 0)
		fprintf(f, "%.3f&nbsp;%%", 100 * part);
}

static void format_text(FILE *f, const struct mica_compare_layer *l)
{
	fputs(l->format, f);
	if (strcmp(l->format, l->stored))
		fprintf(f, "&nbsp;&rarr;&nbsp;%s", l->stored);
}

static void row(FILE *f, const struct mica_compare_layer *l)
{
	fprintf(f, "<tr><td class=n data-v=%u>%u<td data-v=\"", l->order, l->order);
	mica_html_text(f, l->name);
	fprintf(f, "\"><a href=\"#l%u\">", l->order);
	mica_html_text(f, l->name);
	fputs("</a><div class=op>", f);
	mica_html_text(f, l->op);
	fprintf(f, " &middot; %s%s</div><td data-v=\"%s\">", l->shape, l->is_output ? " &middot; output" : "", l->format);
	format_text(f, l);
	snr_cell(f, l->alone.snr);
	snr_cell(f, l->whole.snr);
	fprintf(f, "<td class=n data-v=%.9g>%.5f<td class=n data-v=%.6g>%.4g<td class=n data-v=%.6g>%.2f&nbsp;%%", l->whole.cosine, l->whole.cosine,
		l->whole.max_error, l->whole.max_error, l->whole.range_error, 100 * l->whole.range_error);
	rate_cell(f, l->whole.saturated, 0.001);
	rate_cell(f, l->whole.underflow, 0.5);
	fputc('\n', f);
}

static void table(FILE *f, const struct mica_comparison *c)
{
	fputs("<h2>Layers</h2>\n<div class=wrap><table><thead><tr><th class=n>#<th>layer<th>format<th class=n>SNR alone, dB<th class=n>SNR network, dB"
	      "<th class=n>cosine<th class=n>max error<th class=n>of range<th class=n>saturated<th class=n>underflow</thead><tbody>\n", f);
	for (unsigned i = 0; i < c->layers; i++)
		row(f, &c->layer[i]);
	fputs("</tbody></table></div>\n", f);
}

/* ---- cards ---- */

static void card(FILE *f, const struct mica_compare_layer *l)
{
	char alone[16], whole[16];

	fprintf(f, "<div class=card id=l%u><h3>%u&ensp;", l->order, l->order);
	mica_html_text(f, l->name);
	fputs("</h3><p>", f);
	mica_html_text(f, l->op);
	fputs(" &middot; ", f);
	format_text(f, l);
	fprintf(f, " &middot; alone %s dB, network %s dB<br>f32 %.4g &hellip; %.4g", compare_snr_text(l->alone.snr, alone), compare_snr_text(l->whole.snr, whole),
		(double)l->min, (double)l->max);
	if (l->has_limit)
		fprintf(f, ", codes hold %.4g &hellip; %.4g", (double)l->limit_lo, (double)l->limit_hi);
	if (l->whole.saturated > 0)
		fprintf(f, ", <span class=hot>%.3f&nbsp;%% saturate</span>", 100 * l->whole.saturated);
	if (l->channels.constant)
		fprintf(f, ", %u of %u channels never change", l->channels.constant, l->channels.count);
	fputs("</p>", f);
	svg_histogram(f, l);
	svg_channels(f, &l->channels);
	fputs("</div>\n", f);
}

/* ---- the page ---- */

static void outputs(FILE *f, const struct mica_comparison *c)
{
	char snr[16];

	fputs("<div class=outs>", f);
	for (unsigned i = 0; i < c->layers; i++) {
		const struct mica_compare_layer *l = &c->layer[i];

		if (!l->is_output)
			continue;
		fputs("<div class=out><span>output ", f);
		mica_html_text(f, l->output);
		fprintf(f, "</span><b>cosine %.5f</b><span>SNR %s dB &middot; lowest of a sample %.5f</span></div>\n", l->whole.cosine,
			compare_snr_text(l->whole.snr, snr), l->whole.lowest_cosine);
	}
	fputs("</div>\n", f);
}

static void warnings(FILE *f, const struct mica_comparison *c)
{
	if (!c->warnings)
		return;
	fputs("<ul class=notes>\n", f);
	for (unsigned i = 0; i < c->warnings; i++) {
		fputs("<li>", f);
		mica_html_text(f, c->warning[i]);
		fputc('\n', f);
	}
	fputs("</ul>\n", f);
}

void compare_html(FILE *f, const struct mica_comparison *c, const struct compare_about *about)
{
	fputs("<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width,initial-scale=1\"><title>", f);
	mica_html_text(f, about->model);
	fprintf(f, " &ndash; mica compare</title><style>%s</style><main><h1>", style);
	mica_html_text(f, about->model);
	fputs("</h1><p class=sub>", f);
	mica_html_text(f, about->options);
	fprintf(f, " &middot; against f32 on %u sample%s &middot; %u layers, %s</p>\n", c->samples, c->samples == 1 ? "" : "s", c->layers, about->order);
	outputs(f, c);
	warnings(f, c);
	fputs("<h2>Signal to noise, in the order of execution</h2>\n", f);
	svg_profile(f, c);
	fputs("<p class=key><i style=\"background:var(--blue)\"></i>each layer alone, its operands exact<i style=\"background:var(--orange);height:3px;vertical-align:middle\"></i>"
	      "the whole network quantized</p>\n", f);
	table(f, c);
	fputs("<h2>Values before and after</h2>\n<p class=key style=\"margin-left:0\"><i style=\"background:var(--blue)\"></i>f32<i style=\"background:var(--orange)\"></i>codes as values, "
	      "the whole network quantized; counts are logarithmic<i style=\"background:var(--bad);width:2px\"></i>the largest and smallest codes</p>\n<div class=cards>\n", f);
	for (unsigned i = 0; i < c->layers; i++)
		card(f, &c->layer[i]);
	fprintf(f, "</div></main><script>%s</script></html>\n", script);
}
