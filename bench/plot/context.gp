# SPDX-License-Identifier: Apache-2.0
# Time per token against context length. data: folder of the tables.
set multiplot layout 1,2 title "Time per token against context length (bf16)"
set logscale x 2
set logscale y
set xrange [512:262144]
set yrange [1:200000] # fixed, so that a run without some of the cases can be drawn
set xtics ("1k" 1024, "4k" 4096, "16k" 16384, "64k" 65536)
set xlabel "tokens of context"
set ylabel "microseconds per token"
set grid lc rgb "#e0e0e0"
set key top left
do for [what in "prefill step"] {
    set title (what eq "prefill" ? "prefill" : "one step after that many tokens, caches cold")
    plot data.'/'.what.'_full.dat' using 1:2 with linespoints pt 7 lc rgb "#d62728" title "full", \
         data.'/'.what.'_window.dat' using 1:2 with linespoints pt 5 lc rgb "#1f77b4" \
             title "window 128", \
         data.'/'.what.'_chunk.dat' using 1:2 with linespoints pt 9 lc rgb "#2ca02c" \
             title "chunk 2048 (40/8 x 128)"
}
unset multiplot
