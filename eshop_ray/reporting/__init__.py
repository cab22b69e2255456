"""What every report is made of: a page of sentences, tables and charts, the look of its pictures, its words."""
