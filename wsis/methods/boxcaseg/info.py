"""What is known of BoxCaseg without torch."""

from wsis.methods.info import Info

INFO = Info(
    name="boxcaseg",
    network="wsis.methods.boxcaseg.method:BoxCaseg",
    benches={"proxy": "wsis.methods.boxcaseg.bench:bench"},
)
