"""What a dashboard's panels show: one module a kind or two, each from points to plain plotly data."""
