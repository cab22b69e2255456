"""EshopInstruct: a factory that turns a shop's catalogue, its reviews and public sets into instruction rows.

files --sources--> material --builders, in buckets of like material--> candidates
candidates --cleaning, decontamination, splits, quotas--> instructions/split=NAME/part-00000.parquet, and its card
"""
