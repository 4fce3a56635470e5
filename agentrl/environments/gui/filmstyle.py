"""How a film strip looks."""

STYLE = """
body { margin: 0; padding: 16px 24px; font: 14px/1.45 system-ui, sans-serif; color: #1d2733;
  background: #eef1f4; }
section { margin-bottom: 40px; }
h2 { margin: 0; font-size: 18px; }
h2 small { font-weight: normal; color: #5b6875; }
.task { margin: 4px 0 12px; font-size: 16px; }
.strip { display: flex; flex-wrap: wrap; gap: 12px; align-items: flex-start; padding: 14px;
  background: #20262d; border-radius: 8px; }
.frame { width: 320px; margin: 0; padding: 8px; background: #fff; border-radius: 6px;
  border: 3px solid #fff; }
.frame.evidence { border-color: #1f9d55; }
.frame.stale .screen { opacity: .45; }
figcaption { display: flex; justify-content: space-between; margin-bottom: 6px; font-weight: 600; }
.badge { padding: 0 8px; font-size: 12px; line-height: 20px; color: #fff; background: #1f9d55;
  border-radius: 10px; }
.screen { display: block; width: 100%; border: 1px solid #d4dae0; }
pre.screen { box-sizing: border-box; max-height: 220px; margin: 0; padding: 6px; overflow: auto;
  font: 11px/1.4 ui-monospace, monospace; white-space: pre-wrap; }
.target { fill: #e0202022; stroke: #e02020; }
.ring { fill: none; stroke: #e02020; }
.dot { fill: #e02020; }
.then, .problem { margin: 6px 0 0; overflow-wrap: anywhere; }
.problem { color: #b02a2a; }
.verdict { margin-top: 10px; border-collapse: collapse; }
.verdict th { padding: 2px 14px 2px 0; text-align: left; vertical-align: top; }
.verdict td { padding: 2px 0; }
"""
